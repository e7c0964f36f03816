//! Who forwards to players, each set up as its manual says for the protocol.

use crate::middle::{self, Middle};
use anyhow::Result;
use balancer_lab::data_centre::{DataCentre, Family, Layout};
use balancer_lab::load::{Protocol, Shape, Source};
use balancer_lab::net::Netns;
use std::net::SocketAddr;
use std::path::Path;

pub const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    Routed,
    Dnat,
    Kernel,
    Relay,
    HaproxyTcp,
    HaproxySplice,
    HaproxyHttp,
    NginxStream,
    NginxHttp,
}

impl Contender {
    pub fn of(protocol: Protocol) -> &'static [Self] {
        match protocol {
            Protocol::Rtmp => &[
                Self::Routed,
                Self::Dnat,
                Self::Kernel,
                Self::Relay,
                Self::HaproxyTcp,
                Self::HaproxySplice,
                Self::NginxStream,
            ],
            Protocol::Flv => &[Self::Routed, Self::Dnat, Self::Kernel, Self::Relay, Self::HaproxyHttp, Self::NginxHttp],
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Routed => "routed",
            Self::Dnat => "nft DNAT",
            Self::Kernel => "balancer (kernel)",
            Self::Relay => "balancer (relay)",
            Self::HaproxyTcp => "HAProxy TCP",
            Self::HaproxySplice => "HAProxy splice",
            Self::HaproxyHttp => "HAProxy HTTP",
            Self::NginxStream => "nginx stream",
            Self::NginxHttp => "nginx HTTP",
        }
    }

    /// Why it cannot take part.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Routed | Self::Dnat => None,
            Self::Kernel | Self::Relay => middle::no_balancer(),
            Self::HaproxyTcp | Self::HaproxySplice | Self::HaproxyHttp => middle::no_program("haproxy"),
            Self::NginxHttp => middle::no_program("nginx"),
            Self::NginxStream => middle::no_program("nginx").or_else(|| {
                (!Path::new(STREAM_MODULE).exists())
                    .then(|| format!("no {STREAM_MODULE}: apt-get install libnginx-mod-stream"))
            }),
        }
    }

    fn start(self, dc: &DataCentre, vip: SocketAddr, origin: SocketAddr) -> Result<Middle> {
        let server = format!("  server origin {origin}");
        match self {
            Self::Routed => Ok(Middle::Nothing),
            Self::Dnat => middle::dnat(dc, "tcp", vip, origin),
            Self::Kernel => middle::balancer(dc, origin, "native"),
            Self::Relay => middle::balancer(dc, origin, "off"),
            Self::HaproxyTcp => middle::haproxy(dc, vip, "", "tcp", &server),
            Self::HaproxySplice => middle::haproxy(dc, vip, "", "tcp", &format!("  option splice-auto\n{server}")),
            Self::HaproxyHttp => middle::haproxy(dc, vip, "", "http", &format!("  option forwardfor\n{server}")),
            Self::NginxStream => {
                let section = format!("stream {{ server {{ listen {vip}; proxy_pass {origin}; }} }}");
                middle::nginx(dc, vip, &format!("load_module {STREAM_MODULE};"), &section)
            }
            // Without chunks: they would cost it more, and players take the body as it is.
            Self::NginxHttp => middle::nginx(
                dc,
                vip,
                "",
                &format!(
                    "http {{\n{}server {{ listen {vip}; location / {{ proxy_pass http://{origin}; \
                     proxy_http_version 1.1; proxy_buffering off; chunked_transfer_encoding off;\n\
                     proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }} }}",
                    middle::nginx_http(dc, "proxy")
                ),
            ),
        }
    }
}

/// A contender at work in a data centre of its own. In the order in which it is taken down.
pub struct Running {
    pub middle: Middle,
    _source: Source,
    pub protocol: Protocol,
    pub dial: SocketAddr,
    dc: DataCentre,
}

impl Running {
    /// Without a shape, nothing is sent.
    pub fn start(contender: Contender, protocol: Protocol, shape: Option<Shape>) -> Result<Self> {
        let dc = DataCentre::build(&Layout::default())?;
        let origin = SocketAddr::new(dc.origins[0].ip(Family::V4), protocol.port());
        let vip = SocketAddr::new(dc.vip(Family::V4), protocol.port());
        let source = Source::start(&dc.origins[0].netns, protocol, origin, shape)?;
        let middle = contender.start(&dc, vip, origin)?;
        let dial = if contender == Contender::Routed { origin } else { vip };
        Ok(Self { middle, _source: source, protocol, dial, dc })
    }

    pub fn players(&self) -> &Netns {
        &self.dc.clients[0].netns
    }
}
