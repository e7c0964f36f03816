//! The kernel's maps, clock and frame as [`Tables`].

use core::ptr::NonNull;

use aya_ebpf::{
    bindings::{BPF_F_CURRENT_NETNS, BPF_NOEXIST, BPF_RB_AVAIL_DATA, BPF_TCP_LISTEN, bpf_sock_tuple},
    helpers::generated::{
        bpf_csum_diff, bpf_ktime_get_boot_ns, bpf_ktime_get_coarse_ns, bpf_sk_lookup_udp, bpf_sk_release,
        bpf_skc_lookup_tcp, bpf_xdp_adjust_head, bpf_xdp_adjust_tail,
    },
    maps::HashMap,
    programs::XdpContext,
};
use balancer_common::{
    abi::{
        Arrival, Cluster, Control, Event, Flow4, Flow6, FlowKey4, FlowKey6, IceKey, IceSession, Miss, NextHop,
        PROTO_TCP, PortKey, Secret, ServiceKey, SourcePorts, capacity,
    },
    packet::{Frame, View},
    steer::{Half, Tables, TrackSlot},
};

use crate::maps::{
    ARRIVALS, CLUSTER, CONTROLS, EVENTS, FLOWS4, FLOWS6, ICE, MISSES, NEIGHBOURS, NEXT_HOPS, ORIGINS, PORTS4, PORTS6,
    SECRETS, SERVICES, SOURCES, TRACKS4, TRACKS6,
};

pub struct Kernel<'c> {
    ctx: &'c XdpContext,
}

impl<'c> Kernel<'c> {
    #[inline(always)]
    pub fn new(ctx: &'c XdpContext) -> Self {
        Self { ctx }
    }

    /// The kernel's own look-up in the network namespace of the frame's device.
    ///
    /// # Safety
    /// `len` bytes at `tuple` are addresses and ports as the kernel wants them, which says the family by the length.
    #[inline(always)]
    unsafe fn has_socket(&self, tuple: *const bpf_sock_tuple, len: u32, proto: u32) -> bool {
        let (ctx, tuple, netns) = (self.ctx.ctx.cast(), tuple.cast_mut(), BPF_F_CURRENT_NETNS as u64);
        if proto == PROTO_TCP {
            // SAFETY: by contract; the reference is given back whatever the socket's state.
            unsafe {
                let socket = bpf_skc_lookup_tcp(ctx, tuple, len, netns, 0);
                if socket.is_null() {
                    return false;
                }
                let state = (*socket).state;
                bpf_sk_release(socket.cast());
                state != BPF_TCP_LISTEN
            }
        } else {
            // SAFETY: as above.
            unsafe {
                let socket = bpf_sk_lookup_udp(ctx, tuple, len, netns, 0);
                if socket.is_null() {
                    return false;
                }
                bpf_sk_release(socket.cast());
                true
            }
        }
    }
}

/// Addresses and ports, without the protocol that follows in the key.
const TUPLE4_LEN: u32 = size_of::<FlowKey4>() as u32 - 4;
const TUPLE6_LEN: u32 = size_of::<FlowKey6>() as u32 - 4;

/// Of the bytes in `EVENTS`, more are not for questions.
const QUESTIONS_BYTES_MAX: u64 = capacity::EVENTS as u64 / 2;

#[inline(always)]
fn word(slot: u32) -> u64 {
    CLUSTER.get(slot).copied().unwrap_or_default()
}

impl Tables for Kernel<'_> {
    #[inline(always)]
    fn flow4(&self, key: &FlowKey4) -> Option<Half<'_, Flow4>> {
        // SAFETY: RCU keeps the value while the program runs.
        FLOWS4.get_ptr_mut(key).and_then(NonNull::new).map(|flow| unsafe { Half::new(flow) })
    }

    #[inline(always)]
    fn flow6(&self, key: &FlowKey6) -> Option<Half<'_, Flow6>> {
        // SAFETY: as above.
        FLOWS6.get_ptr_mut(key).and_then(NonNull::new).map(|flow| unsafe { Half::new(flow) })
    }

    #[inline(always)]
    fn track4(&self, key: &FlowKey4) -> Option<TrackSlot<'_>> {
        // SAFETY: as above.
        TRACKS4.get_ptr_mut(key).and_then(NonNull::new).map(|track| unsafe { TrackSlot::new(track) })
    }

    #[inline(always)]
    fn track6(&self, key: &FlowKey6) -> Option<TrackSlot<'_>> {
        // SAFETY: as above.
        TRACKS6.get_ptr_mut(key).and_then(NonNull::new).map(|track| unsafe { TrackSlot::new(track) })
    }

    #[inline(always)]
    fn control(&self, index: u32) -> Control {
        CONTROLS.get(index).copied().unwrap_or(Control::TRACK)
    }

    #[inline(always)]
    fn origin(&self, index: u16) -> Option<(u32, u32)> {
        ORIGINS.get(index as u32).map(|origin| (origin.state, origin.generation))
    }

    #[inline(always)]
    fn next_hop(&self, index: u16) -> Option<&NextHop> {
        NEXT_HOPS.get(index as u32)
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<u32> {
        // SAFETY: RCU keeps the value while the program runs; one word, read at once.
        unsafe { SERVICES.get(key) }.map(|service| service.kind)
    }

    #[inline(always)]
    fn ice(&self, key: &IceKey) -> Option<&IceSession> {
        // SAFETY: RCU keeps the value while the program runs, and user space replaces values whole.
        unsafe { ICE.get(key) }
    }

    #[inline(always)]
    fn take_port4(&self, key: &PortKey) -> Option<u16> {
        take(&PORTS4, key)
    }

    #[inline(always)]
    fn take_port6(&self, key: &PortKey) -> Option<u16> {
        take(&PORTS6, key)
    }

    #[inline(always)]
    fn neighbour(&self, arrival: &Arrival) -> Option<u16> {
        // SAFETY: RCU keeps the value while the program runs; one word, read at once.
        unsafe { NEIGHBOURS.get(arrival) }.map(|index| *index as u16)
    }

    #[inline(always)]
    fn set_arrival(&self, key: &FlowKey6, arrival: &Arrival) {
        // Fails only when memory is short: then the flow is relayed until its client is heard again.
        let _ = ARRIVALS.insert(key, arrival, 0);
    }

    #[inline(always)]
    fn insert4(&self, key: &FlowKey4, flow: &Flow4) -> bool {
        FLOWS4.insert(key, flow, BPF_NOEXIST as u64).is_ok()
    }

    #[inline(always)]
    fn insert6(&self, key: &FlowKey6, flow: &Flow6) -> bool {
        FLOWS6.insert(key, flow, BPF_NOEXIST as u64).is_ok()
    }

    #[inline(always)]
    fn remove4(&self, key: &FlowKey4) {
        let _ = FLOWS4.remove(key);
    }

    #[inline(always)]
    fn remove6(&self, key: &FlowKey6) {
        let _ = FLOWS6.remove(key);
    }

    #[inline(always)]
    fn secret(&self, slot: u32) -> Option<Secret> {
        SECRETS.get(slot).copied()
    }

    #[inline(always)]
    fn asks(&self) -> bool {
        word(Cluster::FLAGS) & Cluster::ASK != 0
    }

    #[inline(always)]
    fn source(&self, key: &ServiceKey) -> Option<SourcePorts> {
        // SAFETY: RCU keeps the value while the program runs, and user space replaces values whole.
        unsafe { SOURCES.get(key) }.copied()
    }

    #[inline(always)]
    fn has_socket4(&self, key: &FlowKey4) -> bool {
        // SAFETY: the words of the key up to the protocol are the tuple of IPv4.
        unsafe { self.has_socket((&raw const *key).cast(), TUPLE4_LEN, key.proto) }
    }

    #[inline(always)]
    fn has_socket6(&self, key: &FlowKey6) -> bool {
        // SAFETY: the same for IPv6.
        unsafe { self.has_socket((&raw const *key).cast(), TUPLE6_LEN, key.proto) }
    }

    #[inline(always)]
    fn miss(&self, key: &FlowKey6) -> Option<Miss> {
        // SAFETY: RCU keeps the value while the program runs; one word, read at once.
        unsafe { MISSES.get(key) }.copied()
    }

    #[inline(always)]
    fn set_miss(&self, key: &FlowKey6, miss: Miss) {
        // Fails only when memory is short: then the next packet asks again.
        let _ = MISSES.insert(key, miss, 0);
    }

    #[inline(always)]
    fn ask(&self, event: Event) -> bool {
        // A flood of strangers must not keep user space from hearing of the ends of flows.
        if EVENTS.query(BPF_RB_AVAIL_DATA as u64) > QUESTIONS_BYTES_MAX {
            return false;
        }
        self.event(event);
        true
    }

    #[inline(always)]
    fn clock_ahead_ns(&self) -> u64 {
        word(Cluster::CLOCK_AHEAD_NS)
    }

    #[inline(always)]
    fn event(&self, event: Event) {
        // A full ring loses the event; user space also finds finished flows by their `seen` words.
        // Written in place: on the stack the compiler would merge stores to misaligned ones.
        if let Some(mut entry) = EVENTS.reserve::<Event>(0) {
            entry.write(event);
            entry.submit(0);
        }
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn boot_s(&self) -> u32 {
        // SAFETY: a helper without arguments.
        (unsafe { bpf_ktime_get_boot_ns() } / 1_000_000_000) as u32
    }

    #[inline(always)]
    fn renew<'f>(&self, _: Frame<'f>) -> Frame<'f> {
        // SAFETY: the kernel vouches for the bytes between the two pointers while the program runs; the old frame is gone.
        unsafe { Frame::new(self.ctx.data() as *mut u8, self.ctx.data_end() as *mut u8) }
    }

    #[inline(always)]
    fn shrink<'f>(&self, frame: Frame<'f>, len: usize) -> Option<Frame<'f>> {
        let excess = frame.len() as i32 - len as i32;
        // SAFETY: the context is the program's own.
        if excess > 0 && unsafe { bpf_xdp_adjust_tail(self.ctx.ctx, -excess) } != 0 {
            return None;
        }
        // SAFETY: the pointers are read anew; the old frame is gone.
        Some(unsafe { Frame::new(self.ctx.data() as *mut u8, self.ctx.data_end() as *mut u8) })
    }

    #[inline(always)]
    fn grow<'f>(&self, _: Frame<'f>, len: usize) -> Option<Frame<'f>> {
        // SAFETY: the context is the program's own.
        if unsafe { bpf_xdp_adjust_head(self.ctx.ctx, -(len as i32)) } != 0 {
            return None;
        }
        // SAFETY: as in `shrink`.
        Some(unsafe { Frame::new(self.ctx.data() as *mut u8, self.ctx.data_end() as *mut u8) })
    }

    #[inline(always)]
    fn sum<const N: usize>(&self, bytes: View<'_, N>) -> u32 {
        let mut sum = 0;
        let mut at = 0;
        while at < N {
            let len = if N - at < SUMMED_MAX { N - at } else { SUMMED_MAX };
            // SAFETY: the view has so many bytes; the helper only reads them.
            sum = unsafe {
                let from = bytes.as_ptr().add(at) as *mut u32;
                bpf_csum_diff(core::ptr::null_mut(), 0, from, len as u32, sum)
            } as u32;
            at += len;
        }
        sum
    }
}

/// The most that `bpf_csum_diff` takes at once, in bytes.
const SUMMED_MAX: usize = 512;

/// The value of an entry, for the one who deletes it.
#[inline(always)]
fn take(ports: &HashMap<PortKey, u32>, key: &PortKey) -> Option<u16> {
    // SAFETY: one word, read before the entry goes, since its memory may serve another one right after.
    let port = unsafe { ports.get(key) }.map(|port| *port as u16)?;
    ports.remove(key).ok().map(|()| port)
}
