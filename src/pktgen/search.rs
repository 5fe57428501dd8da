//! The highest rate without loss (RFC 2544 section 26.1): a binary search over trials.

/// Where and how exactly to search, in packets per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// The highest rate that is tried.
    pub high: f64,
    /// The search ends when the answer is known to so large a part of `high`.
    pub resolution: f64,
    /// Loss that counts as none, as a share.
    pub acceptable: f64,
}

/// What one trial said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// Packets per second that were asked for.
    pub asked: f64,
    /// Packets per second that were sent.
    pub offered: f64,
    /// Share of them that did not arrive whole.
    pub loss: f64,
}

/// Every rate that was tried, and the highest that passed.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The best trial; `None` if none passed.
    pub best: Option<Probe>,
    /// In the order in which they were made.
    pub probes: Vec<Probe>,
}

/// Trials of one search at most; each halves what is unknown.
const MOST: usize = 40;

/// Searches. `trial` is given a rate and measures it.
///
/// # Errors
/// The first that `trial` returns.
pub fn search<E>(search: Search, mut trial: impl FnMut(f64) -> Result<Probe, E>) -> Result<Found, E> {
    let mut found = Found { best: None, probes: Vec::new() };
    let (mut low, mut high) = (0.0, search.high);
    let mut ask = high;
    while found.probes.len() < MOST {
        let probe = trial(ask)?;
        found.probes.push(probe);
        if probe.loss <= search.acceptable && probe.offered > 0.0 {
            low = ask;
            if found.best.is_none_or(|best| probe.offered > best.offered) {
                found.best = Some(probe);
            }
        } else {
            high = ask;
        }
        if high - low <= search.resolution * search.high {
            break;
        }
        ask = f64::midpoint(low, high);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that forwards up to `limit` packets per second.
    fn device(limit: f64) -> impl FnMut(f64) -> Result<Probe, ()> {
        move |asked| Ok(Probe { asked, offered: asked, loss: (1.0 - limit / asked).max(0.0) })
    }

    #[test]
    fn the_limit_is_found_to_the_resolution() {
        for limit in [1.0, 777.0, 123_456.0, 999_999.0] {
            let spec = Search { high: 1e6, resolution: 0.001, acceptable: 0.0 };
            let found = search(spec, device(limit)).unwrap();
            match found.best {
                Some(best) => assert!(best.asked <= limit && limit - best.asked <= 1000.0, "{limit}: {best:?}"),
                None => assert!(limit < 1000.0),
            }
            assert!(found.probes.len() <= 11);
        }
    }

    #[test]
    fn a_device_that_carries_everything_needs_one_trial() {
        let spec = Search { high: 1e6, resolution: 0.01, acceptable: 0.0 };
        let found = search(spec, device(2e6)).unwrap();
        assert_eq!((found.best.map(|best| best.asked), found.probes.len()), (Some(1e6), 1));
    }

    #[test]
    fn acceptable_loss_raises_the_answer() {
        let spec = Search { high: 1e6, resolution: 0.0001, acceptable: 0.1 };
        let best = search(spec, device(450_000.0)).unwrap().best.unwrap();
        assert!((best.asked - 500_000.0).abs() < 150.0, "{best:?}");
    }

    #[test]
    fn a_dead_device_has_no_answer_and_the_search_ends() {
        let spec = Search { high: 1e6, resolution: 0.0, acceptable: 0.0 };
        let found = search(spec, |asked| Ok::<_, ()>(Probe { asked, offered: asked, loss: 1.0 })).unwrap();
        assert_eq!((found.best, found.probes.len()), (None, MOST));
        let silent = |asked| Ok::<_, ()>(Probe { asked, offered: 0.0, loss: 0.0 });
        assert_eq!(search(spec, silent).unwrap().best, None, "nothing sent is nothing passed");
    }

    #[test]
    fn an_error_ends_it() {
        let spec = Search { high: 1e6, resolution: 0.01, acceptable: 0.0 };
        assert_eq!(search(spec, |_| Err("broken")), Err("broken"));
    }
}
