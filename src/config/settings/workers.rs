//! The worker threads, and what they wait for.

/// The worker threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    /// Where they run.
    pub cores: Cores,
    /// How many there are: 1 ..= `MAX_SHARDS`. Equal to the length of a list of cores.
    pub count: u8,
    /// Core of the control thread; `None` leaves it to the scheduler.
    pub main_core: Option<u16>,
    /// How frames find their worker.
    pub dispatch: Dispatch,
    /// Memory pages for DPDK's buffers.
    pub hugepages: Hugepages,
    /// What a worker does when there is nothing to do.
    pub idle: Idle,
}

impl Default for Workers {
    fn default() -> Self {
        Workers {
            cores: Cores::Any,
            count: 1,
            main_core: None,
            dispatch: Dispatch::default(),
            hugepages: Hugepages::default(),
            idle: Idle::default(),
        }
    }
}

/// The cores workers are pinned to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cores {
    /// Not pinned to a particular core.
    #[default]
    Any,
    /// CPU numbers, one per worker, in worker order.
    List(Vec<u16>),
}

words! {
    /// How frames find their worker.
    Dispatch {
        /// By the port's own spreading over its queues, corrected by hand-off.
        #[default]
        Rss = "rss",
        /// Every frame is steered by the receiving worker.
        Software = "software",
    }
}

words! {
    /// Whether connection tables and packet buffers, and DPDK's memory, are to be on huge pages.
    Hugepages {
        /// If the kernel has some to give.
        #[default]
        Auto = "auto",
        /// Without enough of them a run does not start.
        Required = "required",
        /// Never.
        None = "none",
    }
}

words! {
    /// What a worker without work does.
    Idle {
        /// Sleeps until a port has something, after a short time of polling.
        #[default]
        Sleep = "sleep",
        /// Polls on.
        Spin = "spin",
    }
}
