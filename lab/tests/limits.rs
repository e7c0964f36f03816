//! Clients that mean no good, or mean nothing: each meets its limit, each limit has its counter, and everybody else is
//! served meanwhile.

use balancer_lab::client;
use balancer_lab::loss;
use balancer_lab::pattern;
use balancer_lab::plan::{Plan, Role};
use balancer_lab::requirements::{Need, met};
use balancer_lab::rtmp_lite::{COMMAND, ChunkWriter};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::wait::wait_until;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer];

fn raw(scene: &Scene) -> TcpStream {
    let vip = scene.vip();
    let stream = scene.dc.clients[0].netns.run(|| TcpStream::connect(vip)).unwrap().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

/// True once the balancer has closed or reset the connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut buffer = [0u8; 8192];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

fn serves(scene: &Scene, seed: u64) {
    scene.run_exact(vec![scene.client(Plan::new(Role::Publish, seed, 100_000, 100_000))], 1).unwrap();
}

fn counted(scene: &Scene, reason: &str, least: f64) {
    wait_until(&format!("{least} counted as {reason}"), SOON, || scene.balancer.reason(reason).unwrap() >= least)
        .unwrap();
}

#[test]
fn a_slow_loris_is_closed_by_time() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().config("preamble_timeout = \"1s\"").build().unwrap();
    let mut connections: Vec<_> = (0..20).map(|_| raw(&scene)).collect();
    // Some say nothing, some begin the handshake, some finish it.
    for (i, stream) in connections.iter_mut().enumerate() {
        match i % 3 {
            0 => {}
            1 => stream.write_all(&[3, 0, 0, 0, 0]).unwrap(),
            _ => client::handshake(stream).unwrap(),
        }
    }
    serves(&scene, 1);
    assert!(connections.iter_mut().all(is_closed));
    counted(&scene, "preamble_time", 20.0);
    scene.wait_no_flows().unwrap();
}

#[test]
fn a_trickle_does_not_buy_more_time() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().config("preamble_timeout = \"1s\"").build().unwrap();
    let mut stream = raw(&scene);
    client::handshake(&mut stream).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    wait_until("the trickle to be cut off", SOON, || {
        stream.write_all(&[0]).is_err() || matches!(stream.read(&mut [0u8; 4096]), Ok(0))
    })
    .unwrap();
}

#[test]
fn garbage_is_closed_and_serves_nobody() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().build().unwrap();
    for seed in 0..30 {
        let mut stream = raw(&scene);
        let mut noise = vec![0u8; 20_000];
        pattern::fill(&mut noise, seed, 0);
        if seed % 2 == 0 {
            // Noise where the first command should be.
            client::handshake(&mut stream).unwrap();
        } else if noise[0] == 3 {
            noise[0] = 4;
        }
        // The balancer may close while this is being written.
        let _ = stream.write_all(&noise);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        assert!(is_closed(&mut stream), "seed {seed}");
    }
    assert!(scene.balancer.flows().unwrap().is_empty());
    serves(&scene, 1);
}

#[test]
fn a_preamble_without_end_is_closed_by_size() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().build().unwrap();
    let mut stream = raw(&scene);
    client::handshake(&mut stream).unwrap();
    // One message of a megabyte, which nobody would have to buffer.
    let mut out = Vec::new();
    ChunkWriter::default().write(&mut out, 3, COMMAND, 0, &vec![2; 1 << 20]);
    let _ = stream.write_all(&out);
    assert!(is_closed(&mut stream));
    // And very many small ones.
    let mut stream = raw(&scene);
    client::handshake(&mut stream).unwrap();
    let mut out = Vec::new();
    (0..20_000).for_each(|_| ChunkWriter::default().write(&mut out, 2, 3, 0, &[0; 4]));
    let _ = stream.write_all(&out);
    assert!(is_closed(&mut stream));
    counted(&scene, "preamble_bytes", 1.0);
    serves(&scene, 1);
}

#[test]
fn one_address_cannot_take_all_handshakes() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().config("handshakes_per_client_max = 10").build().unwrap();
    let mut connections: Vec<_> = (0..30).map(|_| raw(&scene)).collect();
    counted(&scene, "handshakes_per_client", 20.0);
    let mut refused = 0;
    for stream in &mut connections {
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        refused += usize::from(is_closed(stream));
    }
    assert_eq!(refused, 20);
    drop(connections);
    wait_until("the address to be served again", SOON, || {
        let client = scene.client(Plan::new(Role::Play, 1, 0, 1000));
        scene.run_exact(vec![client], 1).is_ok()
    })
    .unwrap();
}

#[test]
fn half_open_connections_are_given_up() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().config("preamble_timeout = \"1s\"").build().unwrap();
    let connections: Vec<_> = (0..10).map(|_| raw(&scene)).collect();
    let host = &scene.dc.clients[0];
    wait_until("all to be accepted", SOON, || scene.media_sockets().unwrap() >= 10).unwrap();
    loss::black_hole(&host.netns, host.device).unwrap();
    wait_until("their sockets to go", SOON, || scene.media_sockets().unwrap() == 0).unwrap();
    counted(&scene, "preamble_time", 10.0);
    drop(connections);
}
