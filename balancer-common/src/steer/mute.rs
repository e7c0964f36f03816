//! Clients that have said all that they may: their one HTTP request is under way, and whatever they say behind it could
//! be meant for another origin. See [`FlowFlags::mute`].

use super::{HalfFlow, Outcome, Tables, family::Family, tcp::partner};
use crate::{
    abi::{EventKind, FlowFlags, Reason, Seen},
    packet::{header::tcp, parse::Tcp},
};

/// What a packet says, seen from the base of a MUTE flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// No data, or nobody minds. The data of a RST is only its explanation (RFC 9293, 3.5.3).
    Nothing,
    /// Only what was said before.
    Before,
    /// The byte at the base.
    More,
}

#[inline(always)]
pub fn said(flags: u32, segment: &Tcp) -> Said {
    if !FlowFlags::is_mute(flags) || segment.data_len() == 0 || segment.has(tcp::RST) {
        Said::Nothing
    } else if FlowFlags::base(flags).wrapping_sub(segment.seq) & 0xfff < segment.data_len() {
        Said::More
    } else {
        Said::Before
    }
}

/// Why the sender is to be reset, if it is. A RST of its own goes to the other end, which has to hear it.
#[inline(always)]
pub fn ends<F: Family, T: Tables>(
    tables: &T,
    segment: &Tcp,
    key: &F::Key,
    half: &F::Half<'_>,
    seen: u32,
    said: Said,
) -> Option<Reason> {
    if seen & Seen::REFUSED != 0 {
        return if segment.has(tcp::RST) { None } else { Some(Reason::AnotherRequest) };
    }
    if said != Said::More {
        return None;
    }
    refuse::<F, T>(tables, segment, key, half, seen);
    Some(Reason::AnotherRequest)
}

/// The request went to the origin at another length, and perhaps has not arrived there: only the balancer's socket can
/// acknowledge what the client sends again. A FIN must not get to that socket; the client will send it again.
#[inline(always)]
pub const fn before_base(segment: &Tcp) -> Outcome {
    if segment.has(tcp::FIN) { Outcome::drop(Reason::Held) } else { Outcome::pass(Reason::BeforeBase) }
}

/// Ends the flow for both peers. One RST to the client would not do: while media is on its way to it, the RST is behind
/// what the client expects, and is ignored. With nothing forwarded any more, the answer to its last ACK is exact; the
/// origin's next packet is answered likewise.
#[inline(always)]
fn refuse<F: Family, T: Tables>(tables: &T, segment: &Tcp, key: &F::Key, half: &F::Half<'_>, seen: u32) {
    // Without a partner the flow is being removed.
    let Some(partner) = partner::<F, T>(tables, half) else { return };
    if !segment.has(tcp::ACKED) || !agrees(half.splice().flags, partner.splice().flags, segment) {
        return;
    }
    half.set_seen(Seen::REFUSED | Seen::RST);
    partner.set_seen(Seen::REFUSED | Seen::RST);
    if seen & Seen::RST == 0 {
        tables.event(F::event(EventKind::Rst, key));
    }
}

/// The segment covers the base by all the bits that are known of it.
#[inline(always)]
const fn agrees(flags: u32, partner: u32, segment: &Tcp) -> bool {
    if partner & FlowFlags::MUTE == 0 {
        return true;
    }
    let base = FlowFlags::base(partner) << 12 | FlowFlags::base(flags);
    base.wrapping_sub(segment.seq) & 0xff_ffff < segment.data_len()
}
