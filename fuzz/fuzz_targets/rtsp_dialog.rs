//! A client and an origin that say anything at all: what each of them hears is well-formed and bounded, is the same
//! whatever the cuts, and leads no datagram past the balancer.
#![no_main]

use balancer_fuzz::recognize::rtsp::{
    Dialog, DialogConfig, Event, Framed, Message, PortPair, Ports, Reader, RtspError, Start, Transport,
};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

const CONFIG: DialogConfig = DialogConfig {
    head_bytes_max: 2048,
    vip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
    client: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
    udp: true,
};

fn ports(track: u32) -> Ports {
    let pair = |rtp: u16| PortPair { rtp, rtcp: rtp + 1 };
    let offset = (track % 1000) as u16 * 2;
    Ports { to_client: pair(30_000 + offset), to_origin: pair(40_000 + offset) }
}

#[derive(Debug, Default, PartialEq)]
struct Heard {
    client: Vec<u8>,
    origin: Vec<u8>,
    events: Vec<Event>,
    errors: Vec<RtspError>,
    trigger: Vec<u8>,
}

fn settle(dialog: &mut Dialog, heard: &mut Heard) {
    while let Some(event) = dialog.poll() {
        let result = match &event {
            Event::Recognized(_) => dialog.connected(IpAddr::V4(Ipv4Addr::new(10, 1, 0, 5))),
            // Every third time there are none.
            Event::NeedPorts { track } => dialog.ports(*track, (track % 3 != 0).then(|| ports(*track))),
            _ => Ok(()),
        };
        heard.errors.extend(result.err());
        match event {
            Event::Ready { trigger } => heard.trigger = trigger,
            event => heard.events.push(event),
        }
    }
    heard.client.extend(dialog.take_to_client());
    heard.origin.extend(dialog.take_to_origin());
}

/// Turns of client and origin, each cut where `cut` says.
fn talk(turns: &[&[u8]], cut: usize) -> Heard {
    let mut dialog = Dialog::new(CONFIG);
    let mut heard = Heard::default();
    for (i, turn) in turns.iter().enumerate() {
        let (a, b) = turn.split_at(cut % (turn.len() + 1));
        for part in [a, b] {
            if i % 2 == 0 {
                match dialog.client(part) {
                    Err(RtspError::Over) if !heard.trigger.is_empty() => heard.trigger.extend_from_slice(part),
                    // One error is the end: further ones say only that.
                    Err(RtspError::Over) => {}
                    result => heard.errors.extend(result.err()),
                }
            } else if let Err(error) = dialog.origin(part)
                && error != RtspError::Over
            {
                heard.errors.push(error);
            }
            settle(&mut dialog, &mut heard);
        }
    }
    heard
}

fn messages(bytes: &[u8]) -> Vec<Message> {
    let mut reader = Reader::new(4 * CONFIG.head_bytes_max);
    reader.push(bytes);
    let mut found = Vec::new();
    while let Some(framed) = reader.read().expect("what was written here") {
        found.extend(match framed {
            Framed::Message(message) => Some(message),
            Framed::Interleaved(_) => None,
        });
    }
    found
}

fuzz_target!(|input: &[u8]| {
    let Some((head, bytes)) = input.split_first_chunk::<2>() else { return };
    // Turns are divided by what no message may hold.
    let turns: Vec<&[u8]> = bytes.split(|byte| *byte == 0xff).collect();
    let heard = talk(&turns, 0);
    let cut = talk(&turns, usize::from(u16::from_be_bytes(*head)));
    // A request read behind PLAY keeps the legs apart, one that comes later finds them joined: of those alone it matters
    // where the cut is.
    if heard.trigger.is_empty() && cut.trigger.is_empty() {
        assert_eq!(heard, cut);
    }
    assert!(heard.errors.len() <= 1);
    assert!(heard.client.len() + heard.origin.len() <= 4096 + 16 * bytes.len());

    let offered: BTreeSet<String> = (0..2000).map(|track| ports(track).to_origin.to_string()).collect();
    for message in messages(&heard.origin) {
        if matches!(&message.start, Start::Request { name, .. } if name == "SETUP") {
            let list =
                Transport::parse_list(message.header("Transport").expect("a SETUP has one")).expect("read before");
            for transport in list.iter().filter(|t| t.lower() == balancer_fuzz::recognize::rtsp::Lower::Udp) {
                assert!(offered.contains(transport.value("client_port").expect("datagrams need ports")));
                assert_eq!((transport.value("destination"), transport.value("source")), (None, None));
            }
        }
    }
    messages(&heard.client);

    let mut bound = BTreeSet::new();
    let mut asked = BTreeSet::new();
    for event in &heard.events {
        match event {
            Event::NeedPorts { track } => assert!(asked.insert(*track)),
            Event::Bound { track, udp } => {
                assert!(asked.contains(track) && bound.insert(*track));
                assert_eq!(udp.ports, ports(*track));
            }
            Event::Unbound { track } => assert!(asked.remove(track)),
            _ => {}
        }
    }
});
