//! SETUP (RFC 2326 section 10.4): which transports the origin may choose from, and what the client hears of its choice.

use super::super::message::Message;
use super::super::transport::{Lower, PortPair, Transport};
use super::super::{SETUPS_MAX, TRACKS_MAX};
use super::{Dialog, Event, Ports, RtspError, Track, Udp, What, transports};

/// A SETUP that wants datagrams and has no ports of ours yet.
pub struct Waiting {
    pub track: u32,
    message: Message,
    url: String,
    list: Vec<Transport>,
}

/// What the origin was offered.
pub struct Offered {
    pub track: u32,
    url: String,
    /// The client's ports and ours, when datagrams were among it.
    udp: Option<(PortPair, Ports)>,
}

impl Dialog {
    pub(super) fn set_up(&mut self, message: Message, url: &str) -> Result<(), RtspError> {
        let cseq = message.cseq();
        let list = transports(&message).map(|list| ours(list, self.config.udp));
        let refused = match &list {
            Err(_) => Some(400),
            Ok(list) if list.is_empty() => Some(461),
            Ok(_) if self.tracks.len() >= TRACKS_MAX => Some(503),
            Ok(_) => None,
        };
        if let Some(status) = refused {
            self.answer(status, cseq, &[]);
            return Ok(());
        }
        let list = list?;
        self.tracks_made += 1;
        if self.tracks_made > SETUPS_MAX {
            return Err(RtspError::Setups);
        }
        let track = self.tracks_made;
        let datagrams = list.iter().any(|transport| transport.lower() == Lower::Udp);
        let waiting = Waiting { track, message, url: url.to_owned(), list };
        if datagrams {
            self.setup = Some(waiting);
            self.events.push_back(Event::NeedPorts { track });
        } else {
            self.offer(waiting, None);
        }
        Ok(())
    }

    /// Sends the SETUP on, with our ports in it.
    pub(super) fn offer(&mut self, waiting: Waiting, ports: Option<Ports>) {
        let Waiting { track, mut message, url, mut list } = waiting;
        let client = list.iter().find(|t| t.lower() == Lower::Udp).and_then(|t| t.ports("client_port"));
        let udp = client.zip(ports);
        match &udp {
            Some((_, ports)) => list.iter_mut().filter(|t| t.lower() == Lower::Udp).for_each(|transport| {
                transport.set("client_port", ports.to_origin.to_string());
                // Section 12.39: where else to send. It is us that it is sent to, and us that send it on.
                for name in ["destination", "source", "server_port"] {
                    transport.remove(name);
                }
            }),
            None => list.retain(|transport| transport.lower() != Lower::Udp),
        }
        if list.is_empty() {
            return self.answer(461, message.cseq(), &[]);
        }
        message.set("Transport", Transport::list(&list));
        self.ask(message, What::Setup(Offered { track, url, udp }));
    }

    /// The origin's answer to a SETUP.
    pub(super) fn set_up_answered(
        &mut self,
        message: &mut Message,
        offered: Offered,
        ok: bool,
    ) -> Result<(), RtspError> {
        let Offered { track, url, udp } = offered;
        let unbind = |dialog: &mut Self| {
            if udp.is_some() {
                dialog.events.push_back(Event::Unbound { track });
            }
        };
        if !ok {
            unbind(self);
            return Ok(());
        }
        let chosen = transports(message).ok().and_then(|list| list.into_iter().next());
        let lower = chosen.as_ref().map(Transport::lower);
        let interleaved = match (lower, udp, chosen) {
            (Some(Lower::Interleaved), ..) => true,
            (Some(Lower::Udp), Some((client, ports)), Some(chosen)) => {
                let bound = self.chosen(message, chosen, client, ports);
                self.events.push_back(Event::Bound { track, udp: bound });
                false
            }
            // It says nothing, and there was one thing that it could have meant.
            (None, None, _) => true,
            // A group, or what it was not offered.
            _ => return Err(RtspError::Unasked),
        };
        if interleaved {
            unbind(self);
        }
        // A second SETUP of a track replaces the first (section 10.4).
        if let Some(at) = self.tracks.iter().position(|track| track.url == url) {
            let old = self.tracks.remove(at);
            if !old.interleaved {
                self.events.push_back(Event::Unbound { track: old.id });
            }
        }
        self.tracks.push(Track { id: track, url, interleaved });
        Ok(())
    }

    /// The client hears of its own ports, and of ours on the VIP.
    fn chosen(&self, message: &mut Message, mut chosen: Transport, client: PortPair, ports: Ports) -> Udp {
        let origin = chosen.value("source").and_then(|source| source.parse().ok());
        let server = chosen.ports("server_port");
        chosen.set("client_port", client.to_string());
        chosen.set("server_port", ports.to_client.to_string());
        chosen.replace("source", self.config.vip.to_string());
        chosen.replace("destination", self.config.client.to_string());
        message.set("Transport", chosen.to_string());
        Udp { ports, client, origin, server }
    }
}

/// The alternatives that can be carried. Of those by datagram, the ones that share the ports of the first: the origin's
/// choice must not leave a doubt about where the client listens.
fn ours(list: Vec<Transport>, udp: bool) -> Vec<Transport> {
    let mut ports = None;
    list.into_iter()
        .filter(|transport| match (transport.lower(), transport.ports("client_port")) {
            (Lower::Interleaved, _) => true,
            (Lower::Udp, Some(wanted)) => udp && *ports.get_or_insert(wanted) == wanted,
            (Lower::Udp, None) | (Lower::Other, _) => false,
        })
        .collect()
}
