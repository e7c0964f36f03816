//! The socket options of the hand-over, each a small safe function: queue lengths, `TCP_INFO`, `TCP_REPAIR`.
//!
//! Owns every `unsafe` call of the slow path. Decides nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

// Values of linux/tcp.h that are part of the kernel's ABI.
const TCP_MAXSEG: i32 = 2;
const TCP_WINDOW_CLAMP: i32 = 10;
const TCP_INFO: i32 = 11;
const TCP_QUICKACK: i32 = 12;
const TCP_REPAIR: i32 = 19;
const TCP_SAVE_SYN: i32 = 27;
const TCP_SAVED_SYN: i32 = 28;
const IPV6_2292PKTOPTIONS: i32 = 6;
const TCP_REPAIR_QUEUE: i32 = 20;
const TCP_QUEUE_SEQ: i32 = 21;
const TCP_TIMESTAMP: i32 = 24;

const REPAIR_ON: i32 = 1;
/// Off without a window probe: nothing is sent.
const REPAIR_OFF_NO_WP: i32 = -1;
const QUEUE_RECV: i32 = 1;
const QUEUE_SEND: i32 = 2;

const SIOCINQ: libc::c_ulong = 0x541B;
const SIOCOUTQ: libc::c_ulong = 0x5411;

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set(fd: &impl AsFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the value outlives the call and its length is its own.
    check(unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    })
}

fn get(fd: &impl AsFd, option: i32) -> io::Result<u32> {
    let mut value = 0u32;
    let mut len = size_of::<u32>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, which `value` has.
    check(unsafe {
        libc::getsockopt(fd.as_fd().as_raw_fd(), libc::IPPROTO_TCP, option, (&raw mut value).cast(), &mut len)
    })?;
    Ok(value)
}

fn queue(fd: &impl AsFd, request: libc::c_ulong) -> io::Result<u32> {
    let mut value = 0i32;
    // SAFETY: both requests write one int.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request, &mut value) })?;
    Ok(value as u32)
}

/// Bytes received and not read.
pub fn unread(fd: &impl AsFd) -> io::Result<u32> {
    queue(fd, SIOCINQ)
}

/// Bytes sent (or waiting to be) and not acknowledged.
pub fn unacked(fd: &impl AsFd) -> io::Result<u32> {
    queue(fd, SIOCOUTQ)
}

/// What has arrived and was not read, left where it is: 0 at the peer's end, `WouldBlock` when nothing is there.
pub fn peek(fd: &impl AsFd, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `into.len()` bytes to where they belong.
    let n = unsafe { libc::recv(fd.as_fd().as_raw_fd(), into.as_mut_ptr().cast(), into.len(), libc::MSG_PEEK) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Acknowledge what has arrived now, instead of 40 ms later.
pub fn quick_ack(fd: &impl AsFd) -> io::Result<()> {
    set(fd, libc::IPPROTO_TCP, TCP_QUICKACK, 1)
}

/// Never advertise more than this; only of use before `connect()`.
pub fn clamp_window(fd: &impl AsFd, bytes: u32) -> io::Result<()> {
    set(fd, libc::IPPROTO_TCP, TCP_WINDOW_CLAMP, bytes.min(i32::MAX as u32) as i32)
}

/// Largest value that the kernel takes for `TCP_MAXSEG`; loopback's segments are larger and need no limit.
pub const SEGMENT_MAX: u32 = 32_767;

/// Announce at most this segment size; only of use before `connect()` or `listen()`.
pub fn limit_segment(fd: &impl AsFd, bytes: u32) -> io::Result<()> {
    set(fd, libc::IPPROTO_TCP, TCP_MAXSEG, bytes.min(i32::MAX as u32) as i32)
}

/// The part of `struct tcp_info` that the hand-over needs.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    pub established: bool,
    pub timestamps: bool,
    pub sack: bool,
    /// Window scale that the peer announced: applies to windows that come from it.
    pub peer_scale: u8,
    /// Window scale that we announced: applies to windows that we send.
    pub own_scale: u8,
    pub segment: u32,
    /// Window that the peer announced last, scaled.
    pub peer_window: u32,
}

pub fn info(fd: &impl AsFd) -> io::Result<Info> {
    // Offsets in struct tcp_info (linux/tcp.h): fields are only ever added at its end.
    const STATE: usize = 0;
    const OPTIONS: usize = 5;
    const SCALES: usize = 6;
    const SND_MSS: usize = 16;
    const SND_WND: usize = 228;
    const LEN: usize = 232;
    const ESTABLISHED: u8 = 1;
    const OPT_TIMESTAMPS: u8 = 1;
    const OPT_SACK: u8 = 2;
    let mut raw = [0u8; LEN];
    let mut len = LEN as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes.
    check(unsafe {
        libc::getsockopt(fd.as_fd().as_raw_fd(), libc::IPPROTO_TCP, TCP_INFO, raw.as_mut_ptr().cast(), &mut len)
    })?;
    let word = |at: usize| u32::from_ne_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
    Ok(Info {
        established: raw[STATE] == ESTABLISHED,
        timestamps: raw[OPTIONS] & OPT_TIMESTAMPS != 0,
        sack: raw[OPTIONS] & OPT_SACK != 0,
        peer_scale: raw[SCALES] & 15,
        own_scale: raw[SCALES] >> 4,
        segment: word(SND_MSS),
        peer_window: word(SND_WND),
    })
}

/// Keep the SYNs of what is accepted here, with their link layer.
pub fn save_syn(listener: &impl AsFd) -> io::Result<()> {
    const WITH_LINK_LAYER: i32 = 2;
    set(listener, libc::IPPROTO_TCP, TCP_SAVE_SYN, WITH_LINK_LAYER)
}

/// Its headers, link layer first; the kernel forgets them with this call.
pub fn saved_syn(accepted: &impl AsFd) -> io::Result<Option<Vec<u8>>> {
    /// Ethernet, the longest IPv4 header and the longest TCP header take 134 bytes.
    const LEN_MAX: usize = 256;
    let mut headers = vec![0u8; LEN_MAX];
    let len = get_bytes(accepted, libc::IPPROTO_TCP, TCP_SAVED_SYN, &mut headers)?;
    headers.truncate(len);
    Ok((len > 0).then_some(headers))
}

/// The interface by which the connection's SYN came in.
pub fn arrival_interface(accepted: &impl AsFd, own: IpAddr) -> io::Result<u32> {
    /// One control message: its header, then `in_pktinfo` with the index first, or `in6_pktinfo` with it last.
    const LEN: usize = 64;
    let header = size_of::<libc::cmsghdr>();
    let mut message = [0u8; LEN];
    let (len, at) = if own.is_ipv4() {
        set(accepted, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        (get_bytes(accepted, libc::IPPROTO_IP, libc::IP_PKTOPTIONS, &mut message)?, header)
    } else {
        set(accepted, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        let len = get_bytes(accepted, libc::IPPROTO_IPV6, IPV6_2292PKTOPTIONS, &mut message)?;
        (len, header + size_of::<libc::in6_addr>())
    };
    match message[..len].get(at..at + 4) {
        Some(&[a, b, c, d]) => Ok(u32::from_ne_bytes([a, b, c, d])),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Reads an option of any length; how many bytes it has.
fn get_bytes(fd: &impl AsFd, level: i32, option: i32, into: &mut [u8]) -> io::Result<usize> {
    let mut len = into.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes.
    check(unsafe { libc::getsockopt(fd.as_fd().as_raw_fd(), level, option, into.as_mut_ptr().cast(), &mut len) })?;
    Ok(len as usize)
}

fn enter_repair(fd: &impl AsFd) -> io::Result<()> {
    set(fd, libc::IPPROTO_TCP, TCP_REPAIR, REPAIR_ON)
}

fn leave_repair(fd: &impl AsFd) -> io::Result<()> {
    set(fd, libc::IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF_NO_WP)?;
    // Leaving repair clears SO_REUSEADDR, and then the next bind of the VIP fails while this socket lives.
    set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)
}

/// The segment size that the peer announced in its SYN.
pub fn peer_segment(fd: &impl AsFd) -> io::Result<u32> {
    enter_repair(fd)?;
    let mss = get(fd, TCP_MAXSEG);
    leave_repair(fd)?;
    mss
}

/// `write_seq`: the sequence number of the next byte that a `send()` would queue.
///
/// Leaves the repair queue at the receive side, so that [`receive_next`] works without repair mode afterwards.
pub fn write_seq(fd: &impl AsFd) -> io::Result<u32> {
    enter_repair(fd)?;
    let seq = set(fd, libc::IPPROTO_TCP, TCP_REPAIR_QUEUE, QUEUE_SEND).and_then(|()| get(fd, TCP_QUEUE_SEQ));
    let back = set(fd, libc::IPPROTO_TCP, TCP_REPAIR_QUEUE, QUEUE_RECV);
    leave_repair(fd)?;
    back?;
    seq
}

/// `rcv_nxt`. Only after [`write_seq`].
pub fn receive_next(fd: &impl AsFd) -> io::Result<u32> {
    get(fd, TCP_QUEUE_SEQ)
}

/// Sequence number of the next byte that a `read()` would return. Only after [`write_seq`].
pub fn copied_seq(fd: &impl AsFd) -> io::Result<u32> {
    loop {
        let before = receive_next(fd)?;
        let unread = unread(fd)?;
        if before == receive_next(fd)? {
            return Ok(before.wrapping_sub(unread));
        }
    }
}

/// The TSval that a segment sent now would carry.
pub fn own_timestamp(fd: &impl AsFd) -> io::Result<u32> {
    get(fd, TCP_TIMESTAMP)
}

/// Makes the socket's close silent: no FIN, no RST. Returns it for dropping.
pub fn forget<S: AsFd>(socket: S) -> io::Result<()> {
    enter_repair(&socket)
}

/// A socket of the family of `target`, bound to `source`, not connected.
pub fn bound(source: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(source),
        socket2::Type::STREAM.nonblocking(),
        Some(socket2::Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&source.into())?;
    Ok(socket)
}

/// Takes as many descriptors as the hard limit allows: each connection in user space needs two.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes one rlimit.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: reads one rlimit.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok(limit.rlim_cur)
}
