//! The system's libsrt, loaded when it is wanted, so that building the lab needs none: the few of its calls that an
//! origin, a player and a publisher need, made safe. This program has no other `unsafe`.

use anyhow::{Context, Result, bail};
use socket2::{SockAddr, SockAddrStorage};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::net::SocketAddr;
use std::sync::OnceLock;

const FILE: &CStr = c"libsrt-gnutls.so.1.5";
/// `srt.h`: SRT_EPOLL_IN and SRT_EPOLL_ERR.
pub const READABLE: c_int = 1;
const BROKEN: c_int = 8;
/// `srt.h`: SRT_EASYNCSND, SRT_EASYNCRCV and SRT_ETIMEOUT.
const NOT_NOW: [c_int; 3] = [6001, 6002, 6003];
/// The longest stream id, and its end.
const STREAM_ID_MAX: usize = 513;

/// Of `enum SRT_SOCKOPT`.
#[derive(Clone, Copy)]
pub enum Option {
    SendWaits = 1,
    ReceiveWaits = 2,
    ReceiveMillis = 14,
    Latency = 23,
    Passphrase = 26,
    ConnectMillis = 36,
    StreamId = 46,
    V6Only = 54,
}

type Callback = extern "C" fn(*mut c_void, c_int, c_int, *const libc::sockaddr, *const c_char) -> c_int;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Event {
    socket: c_int,
    events: c_int,
}

// SAFETY: whoever calls one has to keep to what the library's header says of it.
type ErrorText = unsafe extern "C" fn() -> *const c_char;

macro_rules! functions {
    ($($name:ident($($argument:ty),*);)*) => {
        struct Functions {
            error_text: ErrorText,
            // SAFETY: as above.
            $($name: unsafe extern "C" fn($($argument),*) -> c_int,)*
        }

        impl Functions {
            fn look_up(library: *mut c_void) -> Result<Self> {
                let symbol = |name| symbol(library, name);
                Ok(Self {
                    // SAFETY: the library's header declares it so.
                    error_text: unsafe { std::mem::transmute::<*mut c_void, ErrorText>(symbol("getlasterror_str")?) },
                    $($name: {
                        let address = symbol(stringify!($name))?;
                        // SAFETY: each is declared here as the library's header declares it.
                        unsafe {
                            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) -> c_int>(address)
                        }
                    },)*
                })
            }
        }
    };
}

functions! {
    startup();
    create_socket();
    close(c_int);
    bind(c_int, *const libc::sockaddr, c_int);
    listen(c_int, c_int);
    listen_callback(c_int, Callback, *mut c_void);
    accept(c_int, *mut libc::sockaddr, *mut c_int);
    connect(c_int, *const libc::sockaddr, c_int);
    setsockflag(c_int, c_int, *const c_void, c_int);
    getsockflag(c_int, c_int, *mut c_void, *mut c_int);
    setrejectreason(c_int, c_int);
    getrejectreason(c_int);
    recvmsg(c_int, *mut c_char, c_int);
    sendmsg(c_int, *const c_char, c_int, c_int, c_int);
    getlasterror(*mut c_int);
    epoll_create();
    epoll_add_usock(c_int, c_int, *const c_int);
    epoll_uwait(c_int, *mut Event, c_int, i64);
}

fn symbol(library: *mut c_void, name: &str) -> Result<*mut c_void> {
    let name = CString::new(format!("srt_{name}"))?;
    // SAFETY: an open library, and a C string.
    let found = unsafe { libc::dlsym(library, name.as_ptr()) };
    if found.is_null() { bail!("libsrt has no {name:?}") } else { Ok(found) }
}

fn srt() -> Result<&'static Functions> {
    static LOADED: OnceLock<Result<Functions, String>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| {
        // SAFETY: a C string; the library is never closed.
        let library = unsafe { libc::dlopen(FILE.as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return Err(format!("no {FILE:?}: apt-get install libsrt1.5-gnutls"));
        }
        let functions = Functions::look_up(library).map_err(|error| format!("{error:#}"))?;
        // SAFETY: takes nothing.
        unsafe { (functions.startup)() };
        Ok(functions)
    });
    loaded.as_ref().map_err(|error| anyhow::anyhow!(error.clone()))
}

fn check(srt: &Functions, result: c_int) -> Result<c_int> {
    if result >= 0 {
        return Ok(result);
    }
    // SAFETY: the text is the library's, and constant.
    let text = unsafe { CStr::from_ptr((srt.error_text)()) };
    bail!("{}", text.to_string_lossy())
}

/// What a call that does not wait has come to.
pub enum Moved {
    Bytes(usize),
    NotNow,
    Broken,
}

/// Who asks to be let in.
pub struct Asking<'a> {
    pub handshake: i32,
    pub stream_id: &'a str,
}

pub enum Verdict {
    Welcome,
    Secret(&'static str),
    Refused(i32),
}

/// Closed on drop.
pub struct Socket(c_int);

impl Socket {
    pub fn new() -> Result<Self> {
        let srt = srt()?;
        // SAFETY: takes nothing.
        Ok(Self(check(srt, unsafe { (srt.create_socket)() })?))
    }

    pub fn number(&self) -> i32 {
        self.0
    }

    pub fn set(&self, option: Option, value: i32) -> Result<()> {
        set(self.0, option, &value.to_ne_bytes())
    }

    pub fn set_text(&self, option: Option, text: &str) -> Result<()> {
        set(self.0, option, text.as_bytes())
    }

    pub fn stream_id(&self) -> Result<String> {
        let srt = srt()?;
        let mut text = [0u8; STREAM_ID_MAX];
        let mut length = text.len() as c_int;
        // SAFETY: a buffer and its length.
        let result =
            unsafe { (srt.getsockflag)(self.0, Option::StreamId as c_int, text.as_mut_ptr().cast(), &mut length) };
        check(srt, result)?;
        Ok(String::from_utf8_lossy(&text[..length.max(0) as usize]).into_owned())
    }

    pub fn listen(&self, at: SocketAddr) -> Result<()> {
        let srt = srt()?;
        let address = SockAddr::from(at);
        // SAFETY: an address and its length, alive during the call; the callback is a function of ours.
        unsafe {
            check(srt, (srt.bind)(self.0, address.as_ptr().cast(), address.len() as c_int)).context("bind")?;
            check(srt, (srt.listen_callback)(self.0, ask, std::ptr::null_mut()))?;
            check(srt, (srt.listen)(self.0, 128)).context("listen")?;
        }
        Ok(())
    }

    /// Without waiting.
    pub fn accept(&self) -> Result<(Self, SocketAddr)> {
        let srt = srt()?;
        let mut storage = SockAddrStorage::zeroed();
        let mut length = storage.size_of() as c_int;
        // SAFETY: room for any address, and its size.
        let socket = unsafe { (srt.accept)(self.0, std::ptr::from_mut(&mut storage).cast(), &mut length) };
        let socket = Self(check(srt, socket)?);
        // SAFETY: the library has written that many bytes of an address.
        let peer = unsafe { SockAddr::new(storage, length as libc::socklen_t) };
        Ok((socket, peer.as_socket().context("no address")?))
    }

    /// Waits; the error is the reason that the other end gave.
    pub fn connect(&self, to: SocketAddr) -> Result<Result<(), i32>> {
        let srt = srt()?;
        let address = SockAddr::from(to);
        // SAFETY: an address and its length, alive during the call.
        let result = unsafe { (srt.connect)(self.0, address.as_ptr().cast(), address.len() as c_int) };
        // SAFETY: a number.
        Ok(if result >= 0 { Ok(()) } else { Err(unsafe { (srt.getrejectreason)(self.0) }) })
    }

    pub fn receive(&self, buffer: &mut [u8]) -> Moved {
        let Ok(srt) = srt() else { return Moved::Broken };
        // SAFETY: a buffer and its length.
        moved(srt, unsafe { (srt.recvmsg)(self.0, buffer.as_mut_ptr().cast(), buffer.len() as c_int) })
    }

    pub fn send(&self, bytes: &[u8]) -> Moved {
        let Ok(srt) = srt() else { return Moved::Broken };
        const FOR_EVER: c_int = -1;
        // SAFETY: a buffer and its length.
        moved(srt, unsafe { (srt.sendmsg)(self.0, bytes.as_ptr().cast(), bytes.len() as c_int, FOR_EVER, 1) })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Ok(srt) = srt() {
            // SAFETY: a number; nobody else closes it.
            unsafe { (srt.close)(self.0) };
        }
    }
}

/// Readable sockets among many.
pub struct Poll(c_int);

impl Poll {
    pub fn new() -> Result<Self> {
        let srt = srt()?;
        // SAFETY: takes nothing.
        Ok(Self(check(srt, unsafe { (srt.epoll_create)() })?))
    }

    pub fn add(&self, socket: &Socket) -> Result<()> {
        let srt = srt()?;
        let events = READABLE | BROKEN;
        // SAFETY: the number is read during the call. A socket leaves when it is closed.
        check(srt, unsafe { (srt.epoll_add_usock)(self.0, socket.0, &events) })?;
        Ok(())
    }

    pub fn wait(&self, millis: i64) -> Result<Vec<i32>> {
        let srt = srt()?;
        let mut events = [Event::default(); 64];
        // SAFETY: an array and its length.
        let n = unsafe { (srt.epoll_uwait)(self.0, events.as_mut_ptr(), 64, millis) };
        // What is below zero is a time-out, too.
        Ok(events.iter().take(n.max(0) as usize).map(|event| event.socket).collect())
    }
}

fn set(socket: c_int, option: Option, value: &[u8]) -> Result<()> {
    let srt = srt()?;
    // SAFETY: a value and its length.
    let result = unsafe { (srt.setsockflag)(socket, option as c_int, value.as_ptr().cast(), value.len() as c_int) };
    check(srt, result).with_context(|| format!("option {}", option as c_int)).map(drop)
}

fn moved(srt: &Functions, result: c_int) -> Moved {
    let mut system = 0;
    match result {
        n if n > 0 => Moved::Bytes(n as usize),
        // SAFETY: a place for a number.
        n if n < 0 && NOT_NOW.contains(&unsafe { (srt.getlasterror)(&mut system) }) => Moved::NotNow,
        _ => Moved::Broken,
    }
}

/// Called by the library in a thread of its own, before anything is answered.
extern "C" fn ask(
    _: *mut c_void,
    socket: c_int,
    handshake: c_int,
    _: *const libc::sockaddr,
    stream_id: *const c_char,
) -> c_int {
    let stream_id = match stream_id.is_null() {
        true => c"",
        // SAFETY: the library's string, which lives during the call.
        false => unsafe { CStr::from_ptr(stream_id) },
    };
    match crate::origin::decide(&Asking { handshake, stream_id: &stream_id.to_string_lossy() }) {
        Verdict::Welcome => 0,
        Verdict::Secret(passphrase) => set(socket, Option::Passphrase, passphrase.as_bytes()).map_or(-1, |()| 0),
        Verdict::Refused(code) => {
            if let Ok(srt) = srt() {
                // SAFETY: numbers.
                unsafe { (srt.setrejectreason)(socket, code) };
            }
            -1
        }
    }
}
