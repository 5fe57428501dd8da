//! A port made of two captures.

use super::{CaptureError, CaptureReader, CaptureWriter};
use crate::driver::port::{FixedControl, made_up_mac};
use crate::driver::{
    LinkState, OpenError, OpenPort, PortCaps, PortInfo, PortSpec, QueuePair, QueueSeed, QueueStats, RxStatus, TxStatus,
    TxStop,
};
use crate::frame::{Burst, MAX_FRAME, Pool};
use crate::net::{Now, PortId};
use std::os::fd::BorrowedFd;

/// Opens `path` for reading and `write_path`, if given, for writing. Frames come as fast as they are asked
/// for. What is sent is stamped with the time of the record read last: the capture is the clock.
pub(in crate::driver) fn open(spec: &PortSpec) -> Result<OpenPort, OpenError> {
    let path = spec.path.as_ref().ok_or_else(|| OpenError::Missing { port: spec.name.clone(), key: "path" })?;
    let fault = |path: &std::path::PathBuf| {
        let (port, path) = (spec.name.clone(), path.clone());
        move |source: CaptureError| OpenError::Capture { port, path, source }
    };
    let reader = CaptureReader::open(path).map_err(fault(path))?;
    let writer = match &spec.write_path {
        Some(path) => Some(CaptureWriter::create(path).map_err(fault(path))?),
        None => None,
    };
    let info = PortInfo {
        mac: spec.mac.unwrap_or(made_up_mac(spec.id)),
        mtu: spec.mtu.unwrap_or(1500),
        link: LinkState::Up,
        ifindex: None,
        speed_mbps: None,
    };
    let id = spec.id;
    Ok(OpenPort {
        id,
        info: info.clone(),
        caps: PortCaps {
            tx_checksum_partial: true,
            tx_gso: true,
            rx_partial: false,
            rx_gso: false,
            max_frame: MAX_FRAME,
            steered: true,
        },
        queues: vec![QueueSeed::new(move || {
            Box::new(PcapQueue { id, reader, writer, clock: Now(0), seq: 0, stats: QueueStats::default() })
        })],
        control: Box::new(FixedControl(info)),
        warnings: Vec::new(),
    })
}

struct PcapQueue {
    id: PortId,
    reader: CaptureReader,
    writer: Option<CaptureWriter>,
    clock: Now,
    /// Number of the record read last, from 1.
    seq: u32,
    stats: QueueStats,
}

impl QueuePair for PcapQueue {
    fn receive(&mut self, pool: &Pool, burst: &mut Burst) -> RxStatus {
        let mut status = RxStatus::default();
        while burst.room() > 0 {
            let Some(mut frame) = pool.alloc() else {
                self.stats.rx_nobuf += 1;
                break;
            };
            let record = match self.reader.next_record() {
                Some(Ok(record)) => record,
                // A damaged file ends where the damage begins.
                Some(Err(_)) => {
                    self.stats.rx_truncated += 1;
                    status.link = Some(LinkState::Gone);
                    break;
                }
                None => break,
            };
            self.seq = self.seq.wrapping_add(1);
            self.clock = record.at;
            frame.set_len(record.data.len());
            if record.is_truncated() || frame.len() != record.data.len() {
                self.stats.rx_truncated += 1;
                continue;
            }
            frame.data_mut().copy_from_slice(record.data);
            frame.meta.ingress = self.id;
            frame.meta.seq = self.seq;
            self.stats.rx_packets += 1;
            self.stats.rx_bytes += frame.len() as u64;
            status.octets += frame.len() as u64;
            status.received += usize::from(burst.push(frame).is_ok());
        }
        status
    }

    fn transmit(&mut self, burst: &mut Burst) -> TxStatus {
        let mut sent = 0;
        let mut stop = None;
        for frame in burst.as_slice() {
            let written = self.writer.as_mut().map_or(Ok(()), |writer| writer.write_frame(self.clock, frame));
            if written.is_err() {
                stop = Some(TxStop::Gone);
                break;
            }
            sent += 1;
            self.stats.tx_packets += 1;
            self.stats.tx_bytes += frame.len() as u64;
            self.stats.tx_super += u64::from(frame.meta.gso.is_some());
        }
        burst.consume(sent);
        self.stats.count_stop(stop, burst.len());
        TxStatus { sent, stop }
    }

    fn stats(&self) -> QueueStats {
        self.stats
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
