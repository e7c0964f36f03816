//! Values of `FLOWS4` and `FLOWS6`: one forwarding half-flow.
//!
//! User space writes a value once, at the hand-over, and afterwards only deletes it. The kernel writes `seen`,
//! `packets`, `last_seen` and `bytes` and nothing else. The v4 value fills one cache line exactly.

use super::{Addr4, Addr6};

/// How the headers of a half-flow are translated, and whom it belongs to. Written by user space only.
///
/// Sequence and timestamp deltas are added in host order, modulo 2^32.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Splice {
    /// See [`FlowFlags`].
    pub flags: u32,
    /// Folded one's-complement difference of addresses and ports (new minus old), added to the L4 checksum.
    pub l4_diff: u16,
    /// Index into `NEXT_HOPS`.
    pub next_hop: u16,
    /// Of a UDP flow of SRT: the socket id of the half's receiver, for a SHUTDOWN to be written to it. Of WebRTC: the
    /// session's number, for a process that adopts the flow.
    pub seq_delta: u32,
    /// Added to ACK numbers and to both edges of every SACK block.
    pub ack_delta: u32,
    pub tsval_delta: u32,
    /// Added to a TSecr that is not 0.
    pub tsecr_delta: u32,
    /// Index into `ORIGINS`.
    pub origin: u16,
    /// Low 16 bits of the origin's generation at the placement: another one in `ORIGINS` means RESET.
    pub origin_generation: u16,
    /// Index into `STREAM_NAMES`.
    pub stream: u32,
}

/// Value of `FLOWS4`: 64 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flow4 {
    pub splice: Splice,
    /// The new 5-tuple, network byte order as stored.
    pub src: Addr4,
    pub dst: Addr4,
    pub ports: u32,
    /// [`Seen`] in the low 8 bits, kept by the kernel. The upper 24 are the second since boot (`CLOCK_BOOTTIME`,
    /// modulo 2^24) at which user space made the flow; the kernel leaves them alone.
    pub seen: u32,
    /// Packets forwarded; wraps.
    pub packets: u32,
    /// Coarse clock at the last packet, in units of 2^20 ns, modulo 2^32.
    pub last_seen: u32,
    /// TCP or UDP payload bytes forwarded.
    pub bytes: u64,
}

/// Value of `FLOWS6`: 88 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flow6 {
    pub splice: Splice,
    pub src: Addr6,
    pub dst: Addr6,
    pub ports: u32,
    pub seen: u32,
    pub packets: u32,
    pub last_seen: u32,
    pub bytes: u64,
}

/// Bits of [`Splice::flags`].
pub struct FlowFlags;

impl FlowFlags {
    /// Both legs carry timestamps: translate TSval and TSecr.
    pub const TIMESTAMPS: u32 = 1 << 0;
    /// Only one leg negotiated timestamps: overwrite the option with NOPs.
    pub const TIMESTAMPS_STRIP: u32 = 1 << 1;
    /// Both legs negotiated SACK: translate the blocks.
    pub const SACK: u32 = 1 << 2;
    /// Only one leg negotiated SACK: overwrite the blocks with NOPs.
    pub const SACK_STRIP: u32 = 1 << 3;
    /// This half carries packets from the origin to the client.
    pub const TO_CLIENT: u32 = 1 << 4;
    /// The client publishes (else it plays).
    pub const PUBLISH: u32 = 1 << 5;
    /// The client may say nothing more: see [`Self::mute`].
    pub const MUTE: u32 = 1 << 6;

    /// Window: `(w << left) >> right`, at most 65535. Four bits each.
    pub const WINDOW_LEFT_SHIFT: u32 = 8;
    pub const WINDOW_RIGHT_SHIFT: u32 = 12;
    /// What the client speaks, four bits: a number of user space's.
    pub const SERVICE_SHIFT: u32 = 16;
    /// Twelve bits of the base of a [`Self::MUTE`] flow.
    pub const BASE_SHIFT: u32 = 20;
    const BASE_MASK: u32 = 0xfff;

    /// The longest request, in bytes, behind which a flow may be MUTE: with a longer one, a retransmission could be taken
    /// for a further request.
    pub const MUTE_REQUEST_MAX: u32 = Self::BASE_MASK;

    /// Flags of the halves to the origin and to the client of a flow whose client has said all that it may. `base` is the
    /// client's own sequence number behind its one request.
    ///
    /// The lower twelve bits stand in the half to the origin and tell, without another look-up, whether a segment covers
    /// the byte at the base: `(base - seq) % 4096 < length`. New data begins there and has to cover it: such a segment is
    /// always caught, whatever its length. What the client sends beyond it, in further segments, may get through, but no
    /// application at the origin reads that, since the byte at the base never comes. An old retransmission lies below
    /// the base whole, and not further away than the request is long: with [`Self::MUTE_REQUEST_MAX`] bytes at most, its
    /// distance is its own, not less than its length, and it is never caught.
    ///
    /// The next twelve bits stand in the other half and are asked for only then: 24 that agree end the flow for both
    /// peers. Twelve alone are guessed too easily by somebody who forges packets.
    pub const fn mute(base: u32) -> (u32, u32) {
        let upper = (base >> 12) & Self::BASE_MASK;
        (Self::MUTE | (base & Self::BASE_MASK) << Self::BASE_SHIFT, Self::MUTE | upper << Self::BASE_SHIFT)
    }

    #[inline(always)]
    pub const fn window_left(flags: u32) -> u32 {
        (flags >> Self::WINDOW_LEFT_SHIFT) & 15
    }

    #[inline(always)]
    pub const fn window_right(flags: u32) -> u32 {
        (flags >> Self::WINDOW_RIGHT_SHIFT) & 15
    }

    #[inline(always)]
    pub const fn service(flags: u32) -> u32 {
        (flags >> Self::SERVICE_SHIFT) & 15
    }

    #[inline(always)]
    pub const fn base(flags: u32) -> u32 {
        flags >> Self::BASE_SHIFT
    }

    /// The client's half of a flow whose client has said all that it may.
    #[inline(always)]
    pub const fn is_mute(flags: u32) -> bool {
        flags & (Self::MUTE | Self::TO_CLIENT) == Self::MUTE
    }
}

/// Low 8 bits of a flow's `seen` word. State only moves forward, but for [`Seen::ARMED`], which only goes away.
pub struct Seen;

impl Seen {
    pub const FIN: u32 = 1 << 0;
    pub const RST: u32 = 1 << 1;
    /// The port is in use again (a SYN came on a finished flow): everything is passed to the stack.
    pub const CLOSED: u32 = 1 << 2;
    /// The balancer's own sockets are still open: every packet is recorded in the half's `TRACKS` entry as well. Set by
    /// user space at the insertion; the kernel clears it when it finds no such entry any more, so that the second
    /// look-up costs nothing for the rest of the flow's life.
    pub const ARMED: u32 = 1 << 3;
    /// The client of a MUTE flow said more: whatever either peer sends is answered with a RST.
    pub const REFUSED: u32 = 1 << 4;
    pub const MASK: u32 = 0xff;
    pub const MADE_AT_SHIFT: u32 = 8;
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: repr(C), integers only, no padding (asserted below).
    unsafe impl aya::Pod for super::Flow4 {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Flow6 {}
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Splice>() == 32);
    assert!(size_of::<Flow4>() == 64);
    assert!(offset_of!(Flow4, src) == 32);
    assert!(offset_of!(Flow4, seen) == 44);
    assert!(offset_of!(Flow4, bytes) == 56);
    assert!(size_of::<Flow6>() == 88);
    assert!(offset_of!(Flow6, seen) == 68);
    assert!(offset_of!(Flow6, bytes) == 80);
};
