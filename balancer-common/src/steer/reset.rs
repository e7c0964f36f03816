//! The answer to packets of a flow that is not to go on: the exact RST that makes the sender give up at once.

use super::{Outcome, Tables, emit, family::Family};
use crate::{
    abi::{Reason, swap_ports},
    packet::{
        Frame,
        header::{proto, tcp},
        parse::{Ip, Tcp},
    },
};

/// Sequence number = the sender's ACK number: the only one that RFC 5961 lets through unasked.
#[inline(always)]
pub fn answer<F: Family, T: Tables>(
    tables: &T,
    frame: Frame,
    ip: &Ip<F::Addr>,
    segment: &Tcp,
    reason: Reason,
) -> Outcome {
    if segment.has(tcp::RST) || !segment.has(tcp::ACKED) {
        return Outcome::drop(Reason::OriginDownNoAck);
    }
    F::turn_round(&frame, ip.l3, ip.l3, proto::TCP, tcp::LEN as u32);
    write_reset::<F>(&frame, ip, segment);
    match tables.shrink(frame, ip.l4 + tcp::LEN) {
        Some(frame) => emit::reflect(&frame, reason),
        None => Outcome::drop(Reason::ResizeFailed),
    }
}

#[inline(always)]
fn write_reset<F: Family>(frame: &Frame, ip: &Ip<F::Addr>, segment: &Tcp) {
    let Some(header) = frame.view::<{ tcp::LEN }>(ip.l4) else { return };
    let words = [
        swap_ports(segment.ports),
        segment.ack.to_be(),
        0,
        ((tcp::LEN as u32 / 4) << 28 | (tcp::RST as u32) << 16).to_be(),
    ];
    let sum = F::pseudo_header(frame, ip.l3, proto::TCP, tcp::LEN as u32)
        .word(words[0])
        .word(words[1])
        .word(words[2])
        .word(words[3]);
    header.set_u32::<{ tcp::PORTS }>(words[0]);
    header.set_u32::<{ tcp::SEQ }>(words[1]);
    header.set_u32::<{ tcp::ACK }>(words[2]);
    header.set_u32::<{ tcp::DATA_OFFSET }>(words[3]);
    header.set_u16::<{ tcp::CHECKSUM }>(sum.finish());
    header.set_u16::<{ tcp::URGENT }>(0);
}
