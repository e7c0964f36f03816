//! The few system calls that the standard library does not wrap. All the `unsafe` of the library is
//! here.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::time::Duration;

/// Moves the calling thread, and only it, into a network namespace.
pub fn enter_netns(namespace: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for the duration of the call; setns takes no pointers.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

pub fn send_signal(pid: u32, signal: i32) -> io::Result<()> {
    // SAFETY: plain numbers; the caller owns the process.
    check(unsafe { libc::kill(pid as i32, signal) })
}

/// The child is killed when the *thread* that spawned it ends: see `process::spawner`.
pub fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(|| {
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            Ok(())
        });
    }
}

/// What a socket is ready for.
#[derive(Clone, Copy)]
pub struct Ready {
    pub read: bool,
    pub write: bool,
}

/// Waits until the socket is readable (an error or a hang-up counts) or, if asked, writable.
pub fn poll(fd: RawFd, read: bool, write: bool, timeout: Duration) -> io::Result<Ready> {
    let mut events = 0;
    if read {
        events |= libc::POLLIN;
    }
    if write {
        events |= libc::POLLOUT;
    }
    let mut entry = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one valid pollfd, and its count.
    let result = unsafe { libc::poll(&mut entry, 1, timeout.as_millis().min(60_000) as i32) };
    if result < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        entry.revents = 0;
    }
    let broken = entry.revents & (libc::POLLERR | libc::POLLHUP) != 0;
    Ok(Ready { read: entry.revents & libc::POLLIN != 0 || broken, write: entry.revents & libc::POLLOUT != 0 })
}

/// Readable sockets among many, each known by a number of the caller's.
pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes a flag; a descriptor that is not negative is ours.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        check(fd)?;
        // SAFETY: just made, owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub fn add(&self, fd: RawFd, number: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: number };
        // SAFETY: a valid event; the kernel copies it.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) })
    }

    pub fn remove(&self, fd: RawFd) -> io::Result<()> {
        // SAFETY: the event is ignored for a removal.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) })
    }

    /// The numbers of those that are readable, at most 64 at a time.
    pub fn wait(&self, timeout: Duration) -> io::Result<Vec<u64>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        let millis = timeout.as_millis().min(60_000) as i32;
        // SAFETY: an array and its length.
        let n = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 64, millis) };
        if n < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Err(io::Error::last_os_error());
        }
        Ok(events.iter().take(n.max(0) as usize).map(|event| event.u64).collect())
    }
}

/// What is larger than the way to the other end is an error of the send, not cut into pieces.
pub fn forbid_fragments(socket: &std::net::UdpSocket) -> io::Result<()> {
    let (level, name) = match socket.local_addr()?.is_ipv4() {
        true => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
        false => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
    };
    // The same number in both families.
    let value: i32 = libc::IP_PMTUDISC_DO;
    let size = size_of::<i32>() as u32;
    // SAFETY: a number and its size.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size) })
}

/// Datagrams over IPv4 leave with a checksum of 0: none.
pub fn without_checksum(socket: &std::net::UdpSocket) -> io::Result<()> {
    let (value, size) = (1i32, size_of::<i32>() as u32);
    let (level, name) = (libc::SOL_SOCKET, libc::SO_NO_CHECK);
    // SAFETY: a number and its size.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size) })
}

/// Sends an Ethernet frame, as it is, out of the interface of this index.
pub fn broadcast_frame(interface: u32, frame: &[u8]) -> io::Result<()> {
    use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    let mut storage = SockAddrStorage::zeroed();
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the storage is large enough for any kind of address, and zeros are a valid one of this kind.
    let address = unsafe {
        let link = storage.view_as::<libc::sockaddr_ll>();
        link.sll_family = libc::AF_PACKET as u16;
        link.sll_ifindex = interface as i32;
        link.sll_halen = 6;
        link.sll_addr[..6].fill(0xff);
        SockAddr::new(storage, length)
    };
    socket.send_to(frame, &address).map(drop)
}

/// Sends the same datagram so many times by one call; how many were taken.
pub fn send_many(fd: RawFd, datagram: &[u8], times: usize) -> io::Result<usize> {
    let mut part = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
    // SAFETY: a header of zeros names nothing.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    (header.msg_hdr.msg_iov, header.msg_hdr.msg_iovlen) = (&raw mut part, 1);
    let mut headers = vec![header; times];
    // SAFETY: an array and its length; what its headers name lives on, and is only read.
    let sent = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), times as u32, 0) };
    check(sent)?;
    Ok(sent as usize)
}

static WAKE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn wake(signal: i32) {
    let byte = [signal as u8];
    // SAFETY: write is async-signal-safe; the pipe is never closed.
    unsafe { libc::write(WAKE.load(SeqCst), byte.as_ptr().cast(), 1) };
}

/// Runs `clean` once on SIGINT or SIGTERM, in a thread of its own, then dies of that signal.
pub fn on_termination(clean: fn()) -> io::Result<()> {
    let mut ends = [0; 2];
    // SAFETY: an array of two, as pipe2 wants it.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    WAKE.store(ends[1], SeqCst);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only writes to a pipe.
        unsafe { libc::signal(signal, wake as extern "C" fn(i32) as libc::sighandler_t) };
    }
    std::thread::spawn(move || {
        let mut byte = [0u8; 1];
        // SAFETY: reads one byte into a buffer of one byte.
        while unsafe { libc::read(ends[0], byte.as_mut_ptr().cast(), 1) } != 1 {}
        clean();
        let signal = i32::from(byte[0]);
        // SAFETY: back to the default action, then the signal again, so that the parent sees how we ended.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::kill(libc::getpid(), signal);
        }
    });
    Ok(())
}

/// Loads `r0 = XDP_PASS; exit` and attaches it to a device of the calling thread's namespace; closing the descriptor
/// detaches it.
pub fn attach_pass_all(device: &str) -> io::Result<OwnedFd> {
    const INSTRUCTIONS: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];
    const PROG_LOAD: i32 = 5;
    const LINK_CREATE: i32 = 28;
    const PROG_TYPE_XDP: u32 = 6;
    const ATTACH_TYPE_XDP: u32 = 37;
    /// The fields of `bpf_attr` up to `expected_attach_type`; what is not named stays zero.
    #[repr(C)]
    #[derive(Default)]
    struct Load {
        kind: u32,
        instruction_count: u32,
        instructions: u64,
        license: u64,
        unused: [u32; 11],
        expected_attach_type: u32,
    }
    #[repr(C)]
    struct Link {
        program: u32,
        interface: u32,
        attach_type: u32,
        flags: u32,
    }
    let name = std::ffi::CString::new(device)?;
    // SAFETY: a C string; the answer is a number.
    let interface = unsafe { libc::if_nametoindex(name.as_ptr()) };
    let load = Load {
        kind: PROG_TYPE_XDP,
        instruction_count: 2,
        instructions: INSTRUCTIONS.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        unused: [0; 11],
        expected_attach_type: ATTACH_TYPE_XDP,
    };
    let program = bpf(PROG_LOAD, &load)?;
    let link = Link { program: program.as_raw_fd() as u32, interface, attach_type: ATTACH_TYPE_XDP, flags: 0 };
    bpf(LINK_CREATE, &link)
}

fn bpf<T>(command: i32, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads as many bytes as it is told, and what the pointers among them point to lives on.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) } as i32;
    check(fd)?;
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub fn is_root() -> bool {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// What the scheduler has counted for all threads of a process, those that ended included.
pub fn process_cpu_time(pid: u32) -> io::Result<Duration> {
    let mut clock = 0;
    // SAFETY: a number, and a place for the answer.
    match unsafe { libc::clock_getcpuclockid(pid as i32, &mut clock) } {
        0 => {}
        error => return Err(io::Error::from_raw_os_error(error)),
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a clock that exists as long as the process does, and a place for the answer.
    check(unsafe { libc::clock_gettime(clock, &mut time) })?;
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Clock ticks a second, the unit of /proc/stat.
pub fn clock_ticks() -> u64 {
    // SAFETY: takes a number, returns a number.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as u64 }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
