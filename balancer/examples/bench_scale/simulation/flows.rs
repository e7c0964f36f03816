//! Records of flows as a balancer writes them, very many.

use super::node::{PREFIX, origin_address, origin_id};
use anyhow::{Context, Result};
use balancer::cluster::record::{FORMAT, FlowRecord, Record, Unknown};
use balancer::cluster::{FlowAt, Shelf};
use balancer::flow::Protocol;
use balancer::flow::splice::{Leg, Plan, Translation};
use balancer_common::abi::{FlowFlags, PROTO_TCP};
use balancer_lab::redis::Server;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub const EPOCH: u64 = 1_700_000_000_000;
pub const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)), 1935);
pub const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 128, 255, 1));
/// Viewers of one stream.
const PER_STREAM: usize = 10;
/// As the balancer writes them.
const BATCH: usize = 512;

/// So many, over so many origins, each of another client's address.
pub fn records(count: usize, origins: usize) -> Vec<FlowAt> {
    let flow = |number: usize| {
        let stream = number / PER_STREAM;
        at(number, stream % origins, stream / origins * PER_STREAM + number % PER_STREAM)
    };
    (0..count).map(flow).collect()
}

/// The `port`th flow of an origin's.
fn at(number: usize, origin: usize, port: usize) -> FlowAt {
    let client =
        SocketAddr::new(Ipv4Addr::from(0xc612_0000 | (number as u32 + 1)).into(), 40_000 + (port % 20_000) as u16);
    // An address and a port are used once towards one origin.
    let source = SocketAddr::new(SOURCE, 20_000 + (port % 40_000) as u16);
    let seed = number as u32;
    let plan = Plan::new(
        &leg(seed.wrapping_mul(2_654_435_761), !seed),
        &leg(seed ^ 0x5eed_f00d, seed.wrapping_mul(77_773)),
        9,
    );
    let origin_address = origin_address(origin);
    let record = FlowRecord {
        v: FORMAT,
        proto: PROTO_TCP as u8,
        client,
        vip: VIP,
        source,
        origin_address,
        origin: origin_id(origin),
        epoch: EPOCH,
        stream: format!("__defaultVhost__/live/camera-{:06}", number / PER_STREAM),
        made_ms: EPOCH + number as u64,
        to_origin: half(&plan.to_origin),
        to_client: half(&plan.to_client),
        unknown: Unknown::new(),
    };
    FlowAt {
        client: format!("6/{client}/{VIP}").into(),
        origin: format!("6/{origin_address}/{source}").into(),
        value: Some(record.text().into()),
    }
}

fn half(t: &Translation) -> [u32; 5] {
    let flags = t.flags | Protocol::Rtmp.number() << FlowFlags::SERVICE_SHIFT;
    [flags, t.seq_delta, t.ack_delta, t.tsval_delta, t.tsecr_delta]
}

fn leg(write_seq: u32, copied_seq: u32) -> Leg {
    Leg {
        write_seq,
        copied_seq,
        peer_scale: 7,
        own_scale: 9,
        timestamps: true,
        sack: true,
        own_timestamp: write_seq ^ 0x55,
        peer_timestamp: copied_seq ^ 0xaa,
    }
}

pub async fn write(shelf: &dyn Shelf, owner: &str, records: &[FlowAt]) -> Result<()> {
    for batch in records.chunks(BATCH) {
        shelf.put_flows(owner, batch).await.context("records of flows are written")?;
    }
    Ok(())
}

/// How many records lie under a balancer's name; each has two fields.
pub fn count(server: &Server, owner: &str) -> Result<usize> {
    let mut fields = 0;
    for part in 0..16 {
        fields += server.cli(&["HLEN", &format!("{PREFIX}:{{f:{owner}:{part}}}:flows")])?.parse::<usize>()?;
    }
    Ok(fields / 2)
}
