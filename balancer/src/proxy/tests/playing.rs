//! Who is shown to play what.

use super::world::{Origin, Outcome, World, ok};
use crate::config::{HttpUrl, Settings};
use crate::flow::{Path, Protocol, Role};
use crate::placement::PlaceRequest;
use crate::recognize::StreamKey;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

async fn get(client: &mut DuplexStream, path: &str) -> String {
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    loop {
        client.read_buf(&mut heard).await.unwrap();
        let text = String::from_utf8_lossy(&heard);
        let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
        if let (Some((_, body)), Some(length)) = (text.split_once("\r\n\r\n"), length)
            && body.len() == length
        {
            return text.into_owned();
        }
    }
}

async fn publish(world: &World, key: &str) -> u16 {
    let key = Arc::new(key.parse::<StreamKey>().unwrap());
    let vip = [127, 0, 0, 1].into();
    let request = PlaceRequest {
        key: &key,
        role: Role::Publish,
        protocol: Protocol::Flv,
        vip,
        client: ([198, 51, 100, 7], 40000).into(),
        exclude: &[],
    };
    world.proxy.store.place(&request, world.proxy.clock.now()).await.unwrap().origin
}

async fn world_of(origins: &[&Origin]) -> World {
    let world = World::new();
    for (n, origin) in origins.iter().enumerate() {
        world.add(&format!("o{n}"), origin.address).await;
    }
    world
}

#[tokio::test]
async fn a_player_is_one_flow_for_as_long_as_it_plays_one_stream() {
    let origin = Origin::new(|_| ok("0123456789")).await;
    let world = world_of(&[&origin]).await;
    publish(&world, "__defaultVhost__/live/a").await;
    let (mut client, task) = world.connect();
    for path in ["/live/a.m3u8", "/live/a-1.ts", "/live/a-2.ts", "/live/a.m3u8"] {
        get(&mut client, path).await;
    }
    let flows = world.proxy.live.flows();
    assert_eq!(flows.len(), 1);
    let flow = &flows[0];
    assert_eq!((flow.protocol, flow.role, flow.path), (Protocol::Hls, Role::Play, Path::Relay));
    assert_eq!((flow.stream.to_string().as_str(), &*flow.origin_id), ("__defaultVhost__/live/a", "o0"));
    assert_eq!((flow.client.to_string().as_str(), flow.origin_address), ("198.51.100.7:5000", origin.address));
    assert_ne!(flow.source.port(), 0);

    publish(&world, "__defaultVhost__/live/b").await;
    get(&mut client, "/live/b.mpd").await;
    get(&mut client, "/live/b-1.m4v").await;
    let flows = world.proxy.live.flows();
    assert_eq!(flows.len(), 1, "another stream, another flow");
    assert_eq!((flows[0].protocol, flows[0].stream.stream()), (Protocol::Http, "b"));
    drop(client);
    assert!(matches!(task.await.unwrap(), Outcome::Refused(_)));
    assert_eq!(world.proxy.live.len(), 0);
    let (to_origin, to_client) = {
        let relayed = world.proxy.live.relayed_totals();
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
        (get(&relayed.bytes_to_origin), get(&relayed.bytes_to_client))
    };
    assert!(to_origin > 6 * 30 && to_client > 6 * 100, "{to_origin} {to_client}");
}

#[tokio::test]
async fn an_order_to_reset_ends_the_connection() {
    let origin = Origin::new(|_| ok("0123456789")).await;
    let world = world_of(&[&origin]).await;
    publish(&world, "__defaultVhost__/live/a").await;
    let (mut client, task) = world.connect();
    get(&mut client, "/live/a.m3u8").await;
    assert_eq!(world.proxy.live.reset_stream(&"__defaultVhost__/live/a".parse().unwrap()), 1);
    assert_eq!(task.await.unwrap(), Outcome::Closed);
    assert_eq!((client.read(&mut [0; 8]).await.unwrap(), world.proxy.live.len()), (0, 0));
}

#[tokio::test]
async fn a_scan_of_made_up_paths_leaves_nothing_behind() {
    let none = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let origin = Origin::new(move |_| none.as_bytes().to_vec()).await;
    let world = world_of(&[&origin]).await;
    let (mut client, _task) = world.connect();
    for n in 0..300 {
        let extension = ["m3u8", "mpd", "ts", "js"][n % 4];
        get(&mut client, &format!("/live/s{n}_1.{extension}")).await;
    }
    assert_eq!((origin.heard().len(), world.proxy.store.stream_count(), world.proxy.live.len()), (300, 0, 0));
}

#[tokio::test]
async fn what_an_origin_has_is_known_from_its_playlist_on() {
    let origin = Origin::new(|_| ok("#EXTM3U")).await;
    let world = world_of(&[&origin]).await;
    let (mut client, _task) = world.connect();
    get(&mut client, "/live/a-1.ts").await;
    assert_eq!(world.proxy.store.stream_count(), 0, "a segment alone says little");
    get(&mut client, "/live/a.m3u8").await;
    get(&mut client, "/live/a-2.ts").await;
    assert_eq!((world.proxy.store.stream_count(), world.proxy.live.len()), (1, 1));
    let stream = world.proxy.store.stream(&"__defaultVhost__/live/a".parse().unwrap()).unwrap();
    assert_eq!((stream.publisher, stream.players), (false, 1));
}

#[tokio::test]
async fn requests_go_to_the_streams_own_origin_and_move_with_it() {
    let (first, second) = (Origin::echo().await, Origin::echo().await);
    let world = world_of(&[&first, &second]).await;
    let mut asked = [0, 0];
    for n in 0..8 {
        let home = publish(&world, &format!("__defaultVhost__/live/s{n}x")).await;
        let (mut client, _task) = world.connect();
        get(&mut client, &format!("/live/s{n}x-3.ts")).await;
        get(&mut client, &format!("/hls/s{n}x.m3u8")).await;
        asked[usize::from(home - 1)] += 2;
        assert_eq!([first.heard().len(), second.heard().len()], asked, "stream {n}");
    }
    assert!(asked[0] > 0 && asked[1] > 0, "{asked:?}");
    world.proxy.store.delete_origin("o0", world.proxy.clock.now()).await.unwrap();
    let before = second.heard().len();
    let (mut client, _task) = world.connect();
    for n in 0..8 {
        get(&mut client, &format!("/live/s{n}x.m3u8")).await;
    }
    assert_eq!(second.heard().len(), before + 8, "what was on the first starts again on the second");
}

#[tokio::test]
async fn a_stream_is_not_for_everybody_where_a_hook_decides() {
    let origin = Origin::new(|_| ok("0123456789")).await;
    // Nobody listens there, and no answer means no.
    let settings = Settings { auth_hook: Some(HttpUrl("http://127.0.0.1:9/".into())), ..Settings::default() };
    let world = World::of(settings);
    world.add("o0", origin.address).await;
    publish(&world, "__defaultVhost__/live/a").await;
    let (mut client, _task) = world.connect();
    for path in ["/live/a.m3u8?token=x", "/live/a-1.ts", "/live/unknown.m3u8"] {
        assert!(get(&mut client, path).await.starts_with("HTTP/1.1 403 "), "{path}");
    }
    assert!(get(&mut client, "/player.html").await.starts_with("HTTP/1.1 200 "), "nobody's stream");
}
