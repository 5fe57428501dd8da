//! A scrape: from blocks to metric families to text.

use super::families::{self as f, Desc, Kind};
use super::groups::{BATCH, Bounds, ITERATION, PROBES};
use super::label::{
    DestroyCause, ExpectResult, FlowState, FragmentResult, HelperResult, IcmpKind, IcmpOutcome, InsertFailure,
    NeighbourState, PortError, Proto, RejectKind, RouteOrigin, RouteResult,
};
use super::{Counters, Exporter, process};
use crate::net::{CtState, DropReason, Family, InvalidReason};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The numbers of one worker, or of all, as series are made from them.
struct Row {
    /// `None`: the sum of all.
    worker: Option<String>,
    counters: Counters,
}

/// One histogram as it is stored.
struct Buckets<'a> {
    counters: &'a Counters,
    group: usize,
    bounds: Bounds,
    /// How many of the stored units make one of the family's.
    per: f64,
}

/// Collects the series of one family.
struct Series {
    desc: Desc,
    worker: Option<String>,
    metrics: Vec<Metric>,
}

impl Series {
    fn metric(&self, labels: &[&str]) -> Metric {
        let pair = |name: &str, value: &str| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        };
        let mut pairs: Vec<_> = self.desc.labels.iter().zip(labels).map(|(n, v)| pair(n, v)).collect();
        debug_assert_eq!(labels.len(), self.desc.labels.len(), "{}", self.desc.name);
        if let Some(worker) = &self.worker {
            pairs.push(pair("worker", worker));
        }
        Metric::from_label(pairs)
    }

    fn real(&mut self, labels: &[&str], value: f64) {
        let mut metric = self.metric(labels);
        if self.desc.kind == Kind::Counter {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.metrics.push(metric);
    }

    fn whole(&mut self, labels: &[&str], value: u64) {
        self.real(labels, value as f64);
    }

    /// A gauge that one worker raises and another may lower. A single worker's may be below zero; the sum can
    /// only seem so, when the two published at different moments.
    fn signed(&mut self, labels: &[&str], value: u64) {
        let value = value.cast_signed();
        self.real(labels, if self.worker.is_some() { value } else { value.max(0) } as f64);
    }

    fn histogram(&mut self, labels: &[&str], stored: &Buckets<'_>) {
        let mut count = 0;
        let bucket = |(i, bound): (usize, &u64)| {
            count += stored.counters.at(stored.group + i);
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound as f64 / stored.per);
            bucket.set_cumulative_count(count);
            bucket
        };
        let buckets: Vec<_> = stored.bounds.iter().enumerate().map(bucket).collect();
        let beyond = stored.counters.at(stored.group + stored.bounds.len());
        let sum = stored.counters.at(stored.group + stored.bounds.len() + 1);
        let mut histogram = Histogram::default();
        histogram.set_sample_count(count + beyond);
        histogram.set_sample_sum(sum as f64 / stored.per);
        histogram.set_bucket(buckets);
        let mut metric = self.metric(labels);
        metric.set_histogram(histogram);
        self.metrics.push(metric);
    }
}

/// Collects families.
#[derive(Default)]
struct Text {
    families: Vec<MetricFamily>,
}

impl Text {
    fn push(&mut self, desc: Desc, metrics: Vec<Metric>) {
        // The encoder refuses a family without series; one can be empty when there are no rules or helpers.
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(desc.name.to_owned());
        family.set_help(desc.help.to_owned());
        family.set_field_type(match desc.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        family.set_metric(metrics);
        self.families.push(family);
    }

    /// A family whose numbers do not come from workers.
    fn family(&mut self, desc: Desc, fill: impl FnOnce(&mut Series)) {
        let mut series = Series { desc, worker: None, metrics: Vec::new() };
        fill(&mut series);
        self.push(desc, series.metrics);
    }

    /// A family with series for each row; `fill` gives those of one.
    fn rows(&mut self, desc: Desc, rows: &[Row], fill: impl Fn(&mut Series, &Counters)) {
        let mut metrics = Vec::new();
        for row in rows {
            let mut series = Series { desc, worker: row.worker.clone(), metrics };
            fill(&mut series, &row.counters);
            metrics = series.metrics;
        }
        self.push(desc, metrics);
    }

    /// A family whose first label is always the worker.
    fn workers(&mut self, desc: Desc, workers: &[Counters], fill: impl Fn(&mut Series, &str, &Counters)) {
        let mut series = Series { desc, worker: None, metrics: Vec::new() };
        for (index, counters) in workers.iter().enumerate() {
            fill(&mut series, &index.to_string(), counters);
        }
        self.push(desc, series.metrics);
    }
}

/// Seconds since 1970, 0 for a time before.
fn unix(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

impl Exporter {
    /// All families with their present numbers.
    #[must_use]
    pub fn collect(&self) -> Vec<MetricFamily> {
        let workers = self.workers();
        let mut sum = Counters::new(&self.layout);
        workers.iter().for_each(|worker| sum.add(worker));
        let rows: Vec<Row> = if self.setup.per_worker {
            let row =
                |(i, counters): (usize, &Counters)| Row { worker: Some(i.to_string()), counters: counters.clone() };
            workers.iter().enumerate().map(row).collect()
        } else {
            vec![Row { worker: None, counters: sum.clone() }]
        };
        let mut text = Text::default();
        self.program(&mut text);
        self.ports(&mut text, &rows);
        self.loops(&mut text, &workers);
        buffers(&mut text, &rows);
        self.tables(&mut text, &workers);
        tracking(&mut text, &rows);
        self.helpers(&mut text, &rows);
        self.policy(&mut text, &rows);
        self.forwarding(&mut text, &rows);
        usage(&mut text);
        if self.setup.node_exporter {
            let g = sum.groups();
            text.family(f::NODE_ENTRIES, |s| s.whole(&[], sum.at(g.entries)));
            text.family(f::NODE_ENTRIES_LIMIT, |s| s.whole(&[], sum.at(g.entries_limit)));
        }
        text.families
    }

    /// The text a scrape gets, in Prometheus' exposition format 0.0.4.
    ///
    /// # Errors
    /// When the encoder refuses a family, which a test excludes.
    pub fn text(&self) -> prometheus::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(1 << 16);
        TextEncoder::new().encode(&self.collect(), &mut out)?;
        Ok(out)
    }

    fn program(&self, text: &mut Text) {
        let told = self.told();
        let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
        text.family(f::BUILD_INFO, |s| s.whole(&[env!("CARGO_PKG_VERSION"), &target], 1));
        text.family(f::START_TIME, |s| s.real(&[], unix(self.setup.start)));
        text.family(f::CONFIG_INFO, |s| s.whole(&[&told.config.0, &told.config.1], 1));
        text.family(f::CONFIG_LAST_SUCCESS, |s| s.whole(&[], u64::from(told.reload_success)));
        text.family(f::CONFIG_LAST_TIME, |s| s.real(&[], told.reload_time.map_or(0.0, unix)));
        text.family(f::CONFIG_RELOADS, |s| {
            s.whole(&["success"], told.reloads[0]);
            s.whole(&["failure"], told.reloads[1]);
        });
    }

    fn ports(&self, text: &mut Text, rows: &[Row]) {
        let told = self.told();
        let ports = &self.setup.ports;
        text.family(f::PORT_INFO, |s| {
            ports.iter().for_each(|p| s.whole(&[&p.name, p.driver, &p.mac.to_string()], 1));
        });
        text.family(f::PORT_UP, |s| {
            ports.iter().zip(&told.up).for_each(|(p, up)| s.whole(&[&p.name], u64::from(*up)));
        });
        text.family(f::PORT_MTU, |s| {
            ports.iter().zip(&told.mtu).for_each(|(p, mtu)| s.whole(&[&p.name], u64::from(*mtu)));
        });
        for (desc, column) in [(f::PORT_PACKETS, 0), (f::PORT_BYTES, 1)] {
            text.rows(desc, rows, |s, c| {
                for (i, port) in ports.iter().enumerate() {
                    s.whole(&[&port.name, "rx"], c.at(c.groups().port_rx + i * 2 + column));
                    s.whole(&[&port.name, "tx"], c.at(c.groups().port_tx + i * 2 + column));
                }
            });
        }
        text.rows(f::PORT_ERRORS, rows, |s, c| {
            for (i, port) in ports.iter().enumerate() {
                for error in PortError::ALL {
                    let at = c.groups().port_errors + i * PortError::COUNT + error.index();
                    s.whole(&[&port.name, error.direction(), error.label()], c.at(at));
                }
            }
        });
        let one = |text: &mut Text, desc, group: fn(&Counters) -> usize| {
            text.rows(desc, rows, |s, c| {
                ports.iter().enumerate().for_each(|(i, p)| s.whole(&[&p.name], c.at(group(c) + i)));
            });
        };
        one(text, f::PORT_FORWARDED, |c| c.groups().port_forwarded);
        one(text, f::PORT_PUNTED, |c| c.groups().punted);
        one(text, f::NEIGHBOUR_DROPS, |c| c.groups().neighbour_drops);
        text.rows(f::PORT_HELD, rows, |s, c| {
            for (i, port) in ports.iter().enumerate() {
                s.signed(&[&port.name], c.at(c.groups().held + i));
            }
        });
    }

    fn loops(&self, text: &mut Text, workers: &[Counters]) {
        text.family(f::WORKER_INFO, |s| {
            for (i, cpu) in self.setup.cpus.iter().enumerate() {
                s.whole(&[&i.to_string(), &cpu.map_or(String::new(), |c| c.to_string())], 1);
            }
        });
        text.workers(f::WORKER_CYCLES, workers, |s, w, c| {
            s.whole(&[w, "busy"], c.at(c.groups().cycles));
            s.whole(&[w, "idle"], c.at(c.groups().cycles + 1));
        });
        text.family(f::WORKER_TSC, |s| s.real(&[], self.told().tsc_hertz));
        text.workers(f::WORKER_POLLS, workers, |s, w, c| {
            s.whole(&[w, "empty"], c.at(c.groups().polls));
            s.whole(&[w, "nonempty"], c.at(c.groups().polls + 1));
        });
        text.workers(f::WORKER_PACKETS, workers, |s, w, c| s.whole(&[w], c.at(c.groups().worker_packets)));
        let pairs = |text: &mut Text, desc, group: fn(&Counters) -> usize| {
            text.workers(desc, workers, |s, w, c| {
                let others = (0..workers.len()).map(|to| (to, to.to_string())).filter(|(_, to)| to != w);
                others.for_each(|(i, to)| s.whole(&[w, &to], c.at(group(c) + i)));
            });
        };
        pairs(text, f::WORKER_HANDOFF, |c| c.groups().handoff);
        pairs(text, f::WORKER_HANDOFF_DROPS, |c| c.groups().handoff_drops);
        text.workers(f::WORKER_BATCH, workers, |s, w, c| {
            let stored = Buckets { counters: c, group: c.groups().batch, bounds: BATCH, per: 1.0 };
            s.histogram(&[w], &stored);
        });
        text.workers(f::WORKER_ITERATION, workers, |s, w, c| {
            let stored = Buckets { counters: c, group: c.groups().iteration, bounds: ITERATION, per: 1e9 };
            s.histogram(&[w], &stored);
        });
        text.workers(f::WORKER_HEARTBEAT, workers, |s, w, c| s.real(&[w], self.civil(c.at(c.groups().heartbeat))));
    }

    /// A reading of the workers' clock as seconds since 1970; 0 for none.
    fn civil(&self, now: u64) -> f64 {
        if now == 0 {
            return 0.0;
        }
        unix(self.setup.start) + now.wrapping_sub(self.setup.start_now.0).cast_signed() as f64 * 1e-9
    }

    fn tables(&self, text: &mut Text, workers: &[Counters]) {
        text.workers(f::CT_ENTRIES, workers, |s, w, c| s.whole(&[w], c.at(c.groups().entries)));
        text.workers(f::CT_ENTRIES_LIMIT, workers, |s, w, c| s.whole(&[w], c.at(c.groups().entries_limit)));
        text.workers(f::CT_EXPIRE_LAG, workers, |s, w, c| s.real(&[w], c.at(c.groups().expire_lag) as f64 / 1e3));
    }

    fn helpers(&self, text: &mut Text, rows: &[Row]) {
        let helpers = &self.setup.helpers;
        text.rows(f::EXPECTATIONS, rows, |s, c| {
            for (i, helper) in helpers.iter().enumerate() {
                let of = |r: ExpectResult| c.at(c.groups().expectations + i * ExpectResult::COUNT + r.index());
                let ended = of(ExpectResult::Matched) + of(ExpectResult::Expired) + of(ExpectResult::Removed);
                s.signed(&[helper], of(ExpectResult::Created).wrapping_sub(ended));
            }
        });
        text.rows(f::EXPECTATIONS_TOTAL, rows, |s, c| {
            for (i, helper) in helpers.iter().enumerate() {
                for r in ExpectResult::ALL {
                    let at = c.groups().expectations + i * ExpectResult::COUNT + r.index();
                    s.whole(&[helper, r.label()], c.at(at));
                }
            }
        });
        text.rows(f::HELPER_PACKETS, rows, |s, c| {
            for (i, helper) in helpers.iter().enumerate() {
                for r in HelperResult::ALL {
                    let at = c.groups().helper_packets + i * HelperResult::COUNT + r.index();
                    s.whole(&[helper, r.label()], c.at(at));
                }
            }
        });
    }

    fn policy(&self, text: &mut Text, rows: &[Row]) {
        let slots = self.rules();
        for (desc, column) in [(f::RULE_PACKETS, 0), (f::RULE_BYTES, 1)] {
            text.family(desc, |s| {
                for (slot, sum) in &slots {
                    if let Some(rule) = &slot.rule {
                        s.whole(&[&slot.chain, rule, slot.verdict], sum[column]);
                    }
                }
            });
        }
        text.family(f::CHAIN_POLICY, |s| {
            for (slot, [packets, _]) in slots.iter().filter(|(slot, _)| slot.rule.is_none()) {
                s.whole(&[&slot.chain, slot.verdict], *packets);
            }
        });
        for (desc, column) in [(f::DROPS, 0), (f::DROP_BYTES, 1)] {
            text.rows(desc, rows, |s, c| {
                for (i, port) in self.setup.ports.iter().enumerate() {
                    for reason in DropReason::ALL {
                        let at = c.groups().drops + (i * DropReason::COUNT + reason.index()) * 2 + column;
                        s.whole(&[&port.name, reason.label()], c.at(at));
                    }
                }
            });
        }
        text.rows(f::REJECTS, rows, |s, c| {
            RejectKind::ALL.iter().for_each(|k| s.whole(&[k.label()], c.at(c.groups().rejects + k.index())));
        });
    }

    fn forwarding(&self, text: &mut Text, rows: &[Row]) {
        let told = self.told();
        for (desc, column) in [(f::FORWARDED, 0), (f::FORWARDED_BYTES, 1)] {
            text.rows(desc, rows, |s, c| {
                for family in Family::ALL {
                    s.whole(&[family.label()], c.at(c.groups().forwarded + family.index() * 2 + column));
                }
            });
        }
        text.rows(f::ORIGINATED, rows, |s, c| s.whole(&[], c.at(c.groups().originated)));
        text.rows(f::FRAGMENTS, rows, |s, c| {
            for family in Family::ALL {
                for r in FragmentResult::ALL {
                    let at = c.groups().fragments + family.index() * FragmentResult::COUNT + r.index();
                    s.whole(&[family.label(), r.label()], c.at(at));
                }
            }
        });
        text.rows(f::FRAGMENTS_PENDING, rows, |s, c| {
            for family in Family::ALL {
                s.whole(&[family.label()], c.at(c.groups().fragments_pending + family.index()));
            }
        });
        text.family(f::ROUTES, |s| {
            for family in Family::ALL {
                for origin in RouteOrigin::ALL {
                    s.whole(&[family.label(), origin.label()], told.routes[family.index()][origin.index()]);
                }
            }
        });
        text.rows(f::ROUTE_LOOKUPS, rows, |s, c| {
            for family in Family::ALL {
                for r in RouteResult::ALL {
                    let at = c.groups().route_lookups + family.index() * RouteResult::COUNT + r.index();
                    s.whole(&[family.label(), r.label()], c.at(at));
                }
            }
        });
        text.family(f::NEIGHBOURS, |s| {
            for family in Family::ALL {
                for state in NeighbourState::ALL {
                    s.whole(&[family.label(), state.label()], told.neighbours[family.index()][state.index()]);
                }
            }
        });
        text.rows(f::ICMP_ERRORS, rows, |s, c| {
            for family in Family::ALL {
                for outcome in IcmpOutcome::ALL {
                    let row = family.index() * IcmpOutcome::COUNT + outcome.index();
                    for kind in IcmpKind::ALL {
                        let at = c.groups().icmp + row * IcmpKind::COUNT + kind.index();
                        s.whole(&[family.label(), outcome.label(), kind.label()], c.at(at));
                    }
                }
            }
        });
    }
}

fn buffers(text: &mut Text, rows: &[Row]) {
    text.rows(f::BUFFERS, rows, |s, c| s.whole(&[], c.at(c.groups().buffers)));
    text.rows(f::BUFFERS_FREE, rows, |s, c| s.whole(&[], c.at(c.groups().buffers + 1)));
}

fn tracking(text: &mut Text, rows: &[Row]) {
    text.rows(f::CT_FLOWS, rows, |s, c| {
        for p in Proto::ALL {
            for state in FlowState::ALL.iter().filter(|state| state.is_tcp() == (*p == Proto::Tcp)) {
                let at = c.groups().flows + p.index() * FlowState::COUNT + state.index();
                s.whole(&[p.label(), state.label()], c.at(at));
            }
        }
    });
    text.rows(f::CT_PACKETS, rows, |s, c| {
        for family in Family::ALL {
            for state in CtState::ALL {
                s.whole(&[family.label(), state.label()], c.states(family, state));
            }
        }
    });
    text.rows(f::CT_INVALID, rows, |s, c| {
        InvalidReason::ALL.iter().for_each(|reason| s.whole(&[reason.label()], c.invalids(*reason)));
    });
    text.rows(f::CT_CREATED, rows, |s, c| {
        Proto::ALL.iter().for_each(|p| s.whole(&[p.label()], c.at(c.groups().created + p.index())));
    });
    text.rows(f::CT_DESTROYED, rows, |s, c| {
        for p in Proto::ALL {
            for cause in DestroyCause::ALL {
                let at = c.groups().destroyed + p.index() * DestroyCause::COUNT + cause.index();
                s.whole(&[p.label(), cause.label()], c.at(at));
            }
        }
    });
    text.rows(f::CT_INSERT_FAILED, rows, |s, c| {
        InsertFailure::ALL.iter().for_each(|r| s.whole(&[r.label()], c.at(c.groups().insert_failed + r.index())));
    });
    text.rows(f::CT_EVICTED, rows, |s, c| s.whole(&[], c.evicted()));
    text.rows(f::CT_PROBES, rows, |s, c| {
        s.histogram(&[], &Buckets { counters: c, group: c.groups().probes, bounds: PROBES, per: 1.0 });
    });
}

fn usage(text: &mut Text) {
    if let Some(usage) = process::usage() {
        text.family(f::PROCESS_CPU, |s| s.real(&[], usage.cpu_seconds));
        text.family(f::PROCESS_RESIDENT, |s| s.whole(&[], usage.resident_bytes));
        text.family(f::PROCESS_FDS, |s| s.whole(&[], usage.open_fds));
    }
}
