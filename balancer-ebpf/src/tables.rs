//! The kernel's maps, clock and frame as [`Tables`].

use core::ptr::NonNull;

use aya_ebpf::{
    helpers::generated::{bpf_ktime_get_coarse_ns, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use balancer_common::{
    abi::{Control, Event, Flow4, Flow6, FlowKey4, FlowKey6, NextHop, ServiceKey},
    packet::Frame,
    steer::{Half, Tables, TrackSlot},
};

use crate::maps::{CONTROLS, EVENTS, FLOWS4, FLOWS6, NEXT_HOPS, ORIGINS, SERVICES, TRACKS4, TRACKS6};

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
    fn is_service(&self, key: &ServiceKey) -> bool {
        SERVICES.get_ptr(key).is_some()
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
    fn shrink<'f>(&self, frame: Frame<'f>, len: usize) -> Option<Frame<'f>> {
        let excess = frame.len() as i32 - len as i32;
        // SAFETY: the context is the program's own.
        if excess > 0 && unsafe { bpf_xdp_adjust_tail(self.ctx.ctx, -excess) } != 0 {
            return None;
        }
        // SAFETY: the pointers are read anew; the old frame is gone.
        Some(unsafe { Frame::new(self.ctx.data() as *mut u8, self.ctx.data_end() as *mut u8) })
    }
}
