//! The kernel's maps, clock and frame as [`Tables`].

use core::ptr::NonNull;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::generated::{
        bpf_csum_diff, bpf_ktime_get_boot_ns, bpf_ktime_get_coarse_ns, bpf_xdp_adjust_head, bpf_xdp_adjust_tail,
    },
    maps::HashMap,
    programs::XdpContext,
};
use balancer_common::{
    abi::{
        Arrival, Control, Event, Flow4, Flow6, FlowKey4, FlowKey6, IceKey, IceSession, NextHop, PortKey, Secret,
        ServiceKey,
    },
    packet::{Frame, View},
    steer::{Half, Tables, TrackSlot},
};

use crate::maps::{
    ARRIVALS, CONTROLS, EVENTS, FLOWS4, FLOWS6, ICE, NEIGHBOURS, NEXT_HOPS, ORIGINS, PORTS4, PORTS6, SECRETS, SERVICES,
    TRACKS4, TRACKS6,
};

pub struct Kernel<'c> {
    ctx: &'c XdpContext,
}

impl<'c> Kernel<'c> {
    #[inline(always)]
    pub fn new(ctx: &'c XdpContext) -> Self {
        Self { ctx }
    }
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
