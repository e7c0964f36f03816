//! Who forwards datagrams to players, each set up as its manual says.

use crate::middle::{self, Middle};
use crate::players::contender::STREAM_MODULE;
use anyhow::Result;
use balancer_lab::data_centre::{DataCentre, Family, Layout};
use balancer_lab::load::{DatagramSource, Shape};
use balancer_lab::net::Netns;
use balancer_lab::origin::srt::SRT_PORT;
use std::net::SocketAddr;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    Routed,
    Dnat,
    Kernel,
    Relay,
    NginxStream,
}

impl Contender {
    pub const ALL: [Self; 5] = [Self::Routed, Self::Dnat, Self::Kernel, Self::Relay, Self::NginxStream];

    pub fn name(self) -> &'static str {
        match self {
            Self::Routed => "routed",
            Self::Dnat => "nft DNAT",
            Self::Kernel => "balancer (kernel)",
            Self::Relay => "balancer (relay)",
            Self::NginxStream => "nginx stream",
        }
    }

    /// Why it cannot take part.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Routed | Self::Dnat => None,
            Self::Kernel | Self::Relay => middle::no_balancer(),
            Self::NginxStream => middle::no_program("nginx").or_else(|| {
                (!Path::new(STREAM_MODULE).exists())
                    .then(|| format!("no {STREAM_MODULE}: apt-get install libnginx-mod-stream"))
            }),
        }
    }

    fn start(self, dc: &DataCentre, vip: SocketAddr, origin: SocketAddr) -> Result<Middle> {
        match self {
            Self::Routed => Ok(Middle::Nothing),
            Self::Dnat => middle::dnat(dc, "udp", vip, origin),
            Self::Kernel => middle::balancer(dc, origin, "native"),
            Self::Relay => middle::balancer(dc, origin, "off"),
            Self::NginxStream => {
                let section = format!("stream {{ server {{ listen {vip} udp; proxy_pass {origin}; }} }}");
                middle::nginx_udp(dc, vip, &format!("load_module {STREAM_MODULE};"), &section)
            }
        }
    }
}

/// A contender at work in a data centre of its own. In the order in which it is taken down.
pub struct Running {
    pub middle: Middle,
    _source: DatagramSource,
    pub dial: SocketAddr,
    pub dc: DataCentre,
}

impl Running {
    pub fn start(contender: Contender, shape: Shape) -> Result<Self> {
        let dc = DataCentre::build(&Layout::default())?;
        let origin = SocketAddr::new(dc.origins[0].ip(Family::V4), SRT_PORT);
        let vip = SocketAddr::new(dc.vip(Family::V4), SRT_PORT);
        let source = DatagramSource::start(&dc.origins[0].netns, origin, shape)?;
        let middle = contender.start(&dc, vip, origin)?;
        let dial = if contender == Contender::Routed { origin } else { vip };
        Ok(Self { middle, _source: source, dial, dc })
    }

    pub fn players(&self) -> &Netns {
        &self.dc.clients[0].netns
    }
}
