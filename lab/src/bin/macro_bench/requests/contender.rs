//! Who stands between viewers and the files of an origin, each set up as its manual says for keep-alive on both sides.
//! Everybody tells the origin the client's address, as any such proxy has to.

use super::origin::FileOrigin;
use crate::middle::{self, Middle};
use anyhow::Result;
use balancer_lab::balancer::HTTP_PORT;
use balancer_lab::data_centre::{DataCentre, Family, Layout};
use std::net::SocketAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    Direct,
    Balancer,
    /// In one thread: what its manual asks for where the cost of a request counts.
    HaproxyOne,
    /// As shipped: a thread for each CPU.
    Haproxy,
    Nginx,
}

impl Contender {
    pub const ALL: [Self; 5] = [Self::Direct, Self::Balancer, Self::HaproxyOne, Self::Haproxy, Self::Nginx];

    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Balancer => "balancer",
            Self::HaproxyOne => "HAProxy, one thread",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
        }
    }

    /// Why it cannot take part.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Direct => None,
            Self::Balancer => middle::no_balancer(),
            Self::HaproxyOne | Self::Haproxy => middle::no_program("haproxy"),
            Self::Nginx => middle::no_program("nginx"),
        }
    }

    fn start(self, dc: &DataCentre, vip: SocketAddr, origin: SocketAddr) -> Result<Middle> {
        let listen = format!("  option forwardfor\n  http-reuse always\n  server origin {origin}");
        match self {
            Self::Direct => Ok(Middle::Nothing),
            Self::Balancer => middle::balancer(dc, origin, "native"),
            Self::HaproxyOne => middle::haproxy(dc, vip, "nbthread 1", "http", &listen),
            Self::Haproxy => middle::haproxy(dc, vip, "", "http", &listen),
            // Never by way of a file: a body that its client does not read fast enough waits at the origin.
            Self::Nginx => middle::nginx(
                dc,
                vip,
                "",
                &format!(
                    "http {{\n{}keepalive_requests 1000000;\n\
                     upstream origin {{ server {origin}; keepalive 64; keepalive_requests 1000000; }}\n\
                     server {{ listen {vip}; location / {{ proxy_pass http://origin; proxy_http_version 1.1;\n\
                     proxy_set_header Connection \"\"; proxy_set_header Host $http_host;\n\
                     proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
                     proxy_max_temp_file_size 0; }} }} }}",
                    middle::nginx_http(dc, "proxy")
                ),
            ),
        }
    }
}

/// A contender at work in a data centre of its own. In the order in which it is taken down.
pub struct Running {
    pub middle: Middle,
    _origin: FileOrigin,
    pub dial: SocketAddr,
    pub dc: DataCentre,
}

impl Running {
    pub fn start(contender: Contender) -> Result<Self> {
        let dc = DataCentre::build(&Layout::default())?;
        let at = SocketAddr::new(dc.origins[0].ip(Family::V4), HTTP_PORT);
        let vip = SocketAddr::new(dc.vip(Family::V4), HTTP_PORT);
        let origin = FileOrigin::start(&dc, at)?;
        let middle = contender.start(&dc, vip, at)?;
        let dial = if contender == Contender::Direct { at } else { vip };
        Ok(Self { middle, _origin: origin, dial, dc })
    }
}
