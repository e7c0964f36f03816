//! Distance between two interfaces of one namespace: frames go from one to the other, one way only after a while. What
//! netem would do where it is not there.

use balancer_lab::net::Netns;
use std::collections::VecDeque;
use std::mem;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const FRAME_MAX: usize = 2048;

/// Frames are carried while this lives.
pub struct Distance {
    stop: Arc<AtomicBool>,
    carrier: Option<JoinHandle<()>>,
}

impl Distance {
    /// From `near` to `far` takes `delay`, the other way none.
    pub fn between(netns: &Netns, near: &'static str, far: &'static str, delay: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (netns, stopped) = (netns.clone(), stop.clone());
        let carrier = std::thread::spawn(move || {
            netns.enter().unwrap();
            carry(&tap(near), &tap(far), delay, &stopped);
        });
        Self { stop, carrier: Some(carrier) }
    }
}

impl Drop for Distance {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let _ = self.carrier.take().map(JoinHandle::join);
    }
}

fn carry(near: &socket2::Socket, far: &socket2::Socket, delay: Duration, stop: &AtomicBool) {
    let mut under_way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    while !stop.load(Relaxed) {
        let mut idle = true;
        while let Some(frame) = receive(near) {
            under_way.push_back((Instant::now() + delay, frame));
            idle = false;
        }
        while let Some((_, frame)) = under_way.pop_front_if(|(at, _)| *at <= Instant::now()) {
            // A full queue is a loss like any other.
            let _ = far.send(&frame);
        }
        // As many as fit between two looks at the other side.
        for frame in std::iter::from_fn(|| receive(far)).take(64) {
            let _ = near.send(&frame);
            idle = false;
        }
        if idle {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

fn receive(tap: &socket2::Socket) -> Option<Vec<u8>> {
    let mut frame = [mem::MaybeUninit::uninit(); FRAME_MAX];
    let len = tap.recv(&mut frame).ok()?;
    // SAFETY: so many bytes have been written.
    Some(frame[..len].iter().map(|byte| unsafe { byte.assume_init() }).collect())
}

/// Every frame that comes in on an interface, and a way out of it.
fn tap(interface: &str) -> socket2::Socket {
    let every = (libc::ETH_P_ALL as u16).to_be();
    let socket =
        socket2::Socket::new(socket2::Domain::PACKET, socket2::Type::RAW, Some(i32::from(every).into())).unwrap();
    let name = std::ffi::CString::new(interface).unwrap();
    // SAFETY: a NUL-terminated name; an address of the family and the length that are said; an integer option.
    let address = unsafe {
        let on: libc::c_int = 1;
        let len = size_of_val(&on) as libc::socklen_t;
        let option = libc::PACKET_IGNORE_OUTGOING;
        let result = libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, (&raw const on).cast(), len);
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        let ((), address) = socket2::SockAddr::try_init(|storage, len| {
            let link = storage.cast::<libc::sockaddr_ll>();
            (*link).sll_family = libc::AF_PACKET as u16;
            (*link).sll_protocol = every;
            (*link).sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
            *len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
        .unwrap();
        address
    };
    socket.bind(&address).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}
