//! The rules of placement, over a registry and streams as the store holds them.

mod claims;
mod copies;
mod properties;
mod rates;
mod requests;
mod rules;

use super::*;
use crate::config::Policy;
use crate::flow::{Protocol, Role};
use crate::recognize::StreamKey;
use crate::registry::{Admission, ConnectFailure, Endpoints, Name, OriginSpec, Registry, Streams};
use balancer_common::abi::ServiceKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn key(stream: &str) -> Arc<StreamKey> {
    Arc::new(StreamKey::new("", "live", stream).unwrap())
}

pub struct World {
    pub registry: Registry,
    pub streams: Streams,
    pub placer: Placer,
    pub now: Duration,
}

impl World {
    pub fn new(policy: Policy, origins: u16) -> Self {
        let admission = Admission { networks: vec!["0.0.0.0/0".parse().unwrap()], own: vec![] };
        let registry = Registry::new(admission, s(3600), None).unwrap();
        let mut world =
            Self { registry, streams: Streams::default(), placer: Placer::new(policy, Sharing::default()), now: s(1) };
        for n in 1..=origins {
            world.origin(n, OriginSpec::default());
        }
        world
    }

    pub fn origin(&mut self, n: u16, spec: OriginSpec) {
        let mut endpoints = Endpoints::default();
        let ports = [(ServiceKind::Rtmp, 1935), (ServiceKind::Http, 8080), (ServiceKind::Srt, 10080)];
        for (kind, port) in ports {
            endpoints.add(kind, SocketAddr::from(([10, 0, 0, n as u8], port))).unwrap();
        }
        let spec = OriginSpec { endpoints: Some(endpoints), ..spec };
        let index = self.registry.put(&Name::parse(&format!("o{n}")).unwrap(), &spec, self.now).unwrap().index;
        assert_eq!(index, n);
    }

    pub fn place(&mut self, stream: &str, role: Role) -> Result<Placement, PlaceError> {
        self.place_as(stream, role, Protocol::Rtmp, &[])
    }

    pub fn place_as(
        &mut self,
        stream: &str,
        role: Role,
        protocol: Protocol,
        exclude: &[u16],
    ) -> Result<Placement, PlaceError> {
        let request = PlaceRequest {
            key: &key(stream),
            role,
            protocol,
            vip: VIP,
            client: ([198, 51, 100, 7], 40000).into(),
            exclude,
        };
        self.placer.place(&mut self.registry, &mut self.streams, &request, self.now)
    }

    pub fn open(&mut self, placement: &Placement, role: Role) {
        let ticket = placement.ticket(role, Protocol::Rtmp);
        self.registry.flow_opened(ticket.origin);
        self.registry.connect_succeeded((ticket.origin, ticket.generation), placement.service);
        self.streams.flow_opened(ticket);
    }

    pub fn publish(&mut self, stream: &str) -> Placement {
        let placement = self.place(stream, Role::Publish).unwrap();
        self.open(&placement, Role::Publish);
        placement
    }

    pub fn fails(&mut self, placement: &Placement, failure: ConnectFailure) {
        let placed_on = (placement.origin, placement.generation);
        if self.registry.connect_failed(placed_on, placement.service, failure, placement.placed_at, self.now) {
            self.streams.free_origin(placement.origin, self.now);
        }
    }
}
