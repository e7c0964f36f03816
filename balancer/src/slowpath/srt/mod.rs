//! SRT in user space: callers whose conclusion has a valid cookie, and without a fast path all of them.
//!
//! Owns a caller from its conclusion to the answer: the stream id, the hook, the placement, a handshake of our own with the
//! origin. What follows is `udp`'s. Everything that a caller says but cookies, addresses and the stream id passes as it
//! is: keys, filters, groups.

mod approach;
mod call;
mod memory;
mod refusal;
mod secrets;
#[cfg(test)]
mod tests;

use super::Context;
use super::udp::Listener;
use crate::offload::{Offload, kernel_now};
use crate::recognize::srt::{SrtError, asked};
use balancer_common::abi::{FlowKey, Reason};
use balancer_common::packet::cookie::{self, Checked};
use balancer_common::packet::srt::{HANDSHAKE_LEN, Handshake, Header, VERSION, kind, reject, shutdown};
use call::Call;
use memory::{CallId, Memory, Remembered};
use refusal::Refusal;
use secrets::{COMMON_LEN, Secrets};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::{debug, warn};

/// What all callers share.
pub struct Srt {
    secrets: Mutex<Secrets>,
    memory: Mutex<Memory>,
}

/// One packet of SRT, whose payload leaves room for headers in an Ethernet frame.
const HANDSHAKE_BYTES_MAX: usize = 1500;

/// As it came, less its extensions.
type Fixed = Handshake<[u8; HANDSHAKE_LEN]>;

impl Srt {
    /// With the secrets that the kernel goes by, where there is a fast path.
    pub fn new(offload: Option<&Offload>) -> std::io::Result<Self> {
        let adopted = offload.map(|offload| [0, 1].map(|slot| offload.secret(slot))).unwrap_or_default();
        let mut secrets = Secrets::adopt(adopted, offload.map(Offload::clock_ahead_ns).unwrap_or_default());
        let minute = secrets.minute(kernel_now());
        write(offload, secrets.renew(minute, secrets::random)?);
        Ok(Self { secrets: Mutex::new(secrets), memory: Mutex::default() })
    }

    /// A few times a minute.
    pub fn tick(&self, offload: Option<&Offload>, now: Duration) {
        self.memory().forget_old(now);
        let mut secrets = self.secrets();
        let minute = secrets.minute(kernel_now());
        match secrets.renew(minute, secrets::random) {
            // Under the lock: what is older must not be written later.
            Ok(renewed) => write(offload, renewed),
            Err(error) => warn!(%error, "no new secret for the cookies of SRT: the old one stays"),
        }
    }

    /// From now on cookies are those of all balancers that share `secret` and a clock, which shows `common_now` at this
    /// moment. To be said again now and then, as clocks drift. Callers who have a cookie of before begin anew.
    pub fn share(&self, offload: Option<&Offload>, secret: [u8; COMMON_LEN], common_now: Duration) {
        let mut secrets = self.secrets();
        let now = kernel_now();
        let ahead_ns = (common_now.as_nanos() as u64).wrapping_sub(now.as_nanos() as u64);
        secrets.share(secret, ahead_ns);
        let minute = secrets.minute(now);
        match secrets.renew(minute, secrets::random) {
            Ok(renewed) => write(offload, renewed),
            Err(error) => warn!(%error, "no common secret for the cookies of SRT"),
        }
        if let Some(Err(error)) = offload.map(|offload| offload.set_clock_ahead_ns(ahead_ns)) {
            warn!(%error, "the fast path keeps its own minutes: other balancers will refuse its SRT cookies");
        }
    }

    fn secrets(&self) -> MutexGuard<'_, Secrets> {
        // Whole between statements, as is the memory.
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cookie(&self, caller: &FlowKey) -> Option<u32> {
        let secrets = self.secrets();
        let minute = secrets.minute(kernel_now());
        secrets.of_minute(minute).map(|secret| cookie::make(&secret, caller, minute))
    }

    fn check(&self, cookie: u32, caller: &FlowKey) -> Checked {
        let secrets = self.secrets();
        cookie::check(cookie, caller, secrets.minute(kernel_now()), |slot| secrets.in_slot(slot))
    }
}

fn write(offload: Option<&Offload>, renewed: Vec<(u32, balancer_common::abi::Secret)>) {
    for (slot, secret) in renewed {
        if let Some(Err(error)) = offload.map(|offload| offload.set_secret(slot, secret)) {
            warn!(%error, "the fast path keeps its old secret: conclusions of SRT will not be understood");
        }
    }
}

/// A datagram by which a caller begins: it is for us, whatever flow its sender has already. An origin that heard it would
/// serve whatever stream it names, unasked and unplaced.
pub fn is_greeting(datagram: &[u8]) -> bool {
    Header::read(datagram).is_some_and(|header| header.is_handshake() && header.destination() == 0)
}

/// After such a datagram the conversation is over. Only for the socket with the receiver's id, as in the kernel: anybody
/// can send a word in a client's name. An id of 0 is one that is not known.
pub fn is_last(datagram: &[u8], receiver: u32) -> bool {
    let is_receivers = |header: &Header<_>| receiver == 0 || receiver == header.destination();
    Header::read(datagram).filter(is_receivers).is_some_and(|header| header.is_shutdown())
}

/// What ends a conversation for the socket with this id.
pub fn last_word(socket_id: u32) -> Vec<u8> {
    shutdown(socket_id).to_vec()
}

/// A datagram that belongs to no flow.
pub fn heard(ctx: &Arc<Context>, listener: &Arc<Listener>, from: SocketAddr, datagram: &[u8]) {
    let Some(caller) = FlowKey::udp(from, listener.address) else { return };
    let count = |reason| ctx.counters.count(reason);
    if !Header::read(datagram).is_some_and(|header| header.is_handshake()) {
        ctx.live.stray(caller);
        return count(Reason::SrtStray);
    }
    // To a socket id of 0 an answer could be taken for a question, by a listener like this one, without end.
    let is_callers =
        |said: &Fixed| said.destination() == 0 && said.socket_id() != 0 && datagram.len() <= HANDSHAKE_BYTES_MAX;
    let Some(mut handshake) = Handshake::read(datagram).filter(is_callers) else {
        return count(Reason::SrtMalformed);
    };
    match handshake.kind() {
        kind::INDUCTION => {
            let Some(cookie) = ctx.srt.cookie(&caller) else { return };
            handshake.answer_induction(cookie);
            count(Reason::SrtAnswered);
            say(listener, from, handshake.bytes());
        }
        kind::WAVEAHAND => {
            handshake.reject(reject::PEER);
            count(Reason::SrtRendezvous);
            say(listener, from, handshake.bytes());
        }
        kind::CONCLUSION => match ctx.srt.check(handshake.cookie(), &caller) {
            Checked::Valid => concluded(ctx, listener, from, handshake, datagram),
            Checked::Stale => count(Reason::SrtStaleCookie),
            Checked::Bad => count(Reason::SrtBadCookie),
        },
        _ => count(Reason::SrtMalformed),
    }
}

/// A conclusion whose sender has its cookie from us. What is refused at first sight is not remembered: asked again, it is
/// refused again, and nobody can fill the memory with nonsense.
fn concluded(ctx: &Arc<Context>, listener: &Arc<Listener>, from: SocketAddr, handshake: Fixed, datagram: &[u8]) {
    let refuse = |reason, refusal: Refusal| {
        ctx.counters.count(reason);
        say(listener, from, &refusal.of(handshake));
    };
    if handshake.version() < VERSION {
        return refuse(Reason::SrtOldVersion, Refusal::OldVersion);
    }
    let asked = match asked(datagram) {
        Ok(asked) => asked,
        Err(error) => {
            debug!(client = %from, %error, "names no stream");
            let refusal = if error == SrtError::Mode { Refusal::BadMode } else { Refusal::BadName };
            return refuse(Reason::SrtBadName, refusal);
        }
    };
    let (socket_id, cookie) = (handshake.socket_id(), handshake.cookie());
    let id = CallId { client: from, vip: listener.address, socket_id, cookie };
    let remembered = ctx.srt.memory().begin(id, ctx.now());
    match remembered {
        Remembered::New => {}
        Remembered::UnderWay => return,
        Remembered::Answered(answer) => return say(listener, from, &answer),
        Remembered::Spent => return ctx.counters.count(Reason::SrtReplayed),
        Remembered::TooMany => return refuse(Reason::LimitSrtCalls, Refusal::Overload),
    }
    let both = ctx.admission.admit(Some(from.ip())).and_then(|admitted| Ok((admitted, ctx.udp.admit(from.ip())?)));
    match both {
        Ok(admitted) => {
            let call = Call::new(ctx, listener, id, (handshake, datagram), asked, admitted);
            tokio::spawn(call.live());
        }
        Err(reason) => {
            ctx.srt.memory().gave_up(id);
            refuse(reason, Refusal::Overload);
        }
    }
}

fn say(listener: &Listener, client: SocketAddr, datagram: &[u8]) {
    // Lost as any datagram may be: the caller asks again.
    let _ = listener.socket.try_send_to(datagram, client);
}
