//! The folder of players.

use super::world::{Origin, World, ok, statuses};
use std::fs;

async fn world_with_files() -> (World, Origin, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    fs::create_dir_all(files.join("players")).unwrap();
    fs::create_dir_all(files.join(".git")).unwrap();
    for (name, text) in [
        ("files/index.html", "<p>hello"),
        ("files/players/p.js", "0123456789"),
        ("files/players/p.wasm", "w"),
        ("files/.git/config", "secret"),
        ("files/live.m3u8", "#EXTM3U"),
        ("outside.txt", "outside"),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    std::os::unix::fs::symlink(folder.path().join("outside.txt"), files.join("link.txt")).unwrap();
    let origin = Origin::new(|_| ok("the origin's")).await;
    let world = World::with(Some(files));
    world.add("o1", origin.address).await;
    (world, origin, folder)
}

async fn get(world: &World, path: &str, fields: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n");
    world.hear(request.as_bytes()).await.0
}

#[tokio::test]
async fn files_have_types_ranges_and_conditions() {
    let (world, origin, _folder) = world_with_files().await;
    for (path, kind, body) in [
        ("/", "text/html", "<p>hello"),
        ("/players/p.js?v=1", "text/javascript", "0123456789"),
        ("/players/p.wasm", "application/wasm", "w"),
        ("/%70layers/p.js", "text/javascript", "0123456789"),
    ] {
        let heard = get(&world, path, "").await;
        assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
        assert!(
            heard.contains(&format!("Content-Type: {kind}")) && heard.ends_with(&format!("\r\n\r\n{body}")),
            "{heard}"
        );
        assert!(heard.contains("Access-Control-Allow-Origin: *"), "{heard}");
    }
    let heard = get(&world, "/players/p.js", "Range: bytes=2-4\r\n").await;
    assert!(heard.starts_with("HTTP/1.1 206") && heard.ends_with("\r\n\r\n234"), "{heard}");
    let modified = heard.lines().find_map(|line| line.strip_prefix("Last-Modified: ")).unwrap();
    let heard = get(&world, "/players/p.js", &format!("If-Modified-Since: {modified}\r\n")).await;
    assert_eq!(statuses(&heard), [304]);
    assert!(origin.heard().is_empty());
    assert!(world.metrics().contains("balancer_http_requests_total{kind=\"file\",code=\"2xx\"} 5"));
}

#[tokio::test]
async fn what_is_not_in_the_folder_is_the_origins() {
    let (world, origin, _folder) = world_with_files().await;
    for path in ["/none.js", "/players", "/players/", "/.git/config", "/%2egit/config", "/players/p.js/x"] {
        let heard = get(&world, path, "").await;
        let own = heard.ends_with("the origin's") || statuses(&heard) == [307];
        assert!(own && !heard.contains("secret"), "{path}: {heard}");
    }
    let heard = world.hear(b"POST /players/p.js HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").await.0;
    assert!(heard.ends_with("the origin's"), "{heard}");
    assert!(origin.heard().len() >= 5);
}

#[tokio::test]
async fn no_path_leaves_the_folder() {
    let (world, _origin, _folder) = world_with_files().await;
    for path in [
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/players/..%2f..%2foutside.txt",
        "/players/%2e%2e/%2e%2e/outside.txt",
        "/..%5coutside.txt",
        "//outside.txt",
        "/./outside.txt",
        "/players//../../outside.txt",
        "/%252e%252e/outside.txt",
    ] {
        let heard = get(&world, path, "").await;
        assert!(!heard.ends_with("outside"), "{path}: {heard}");
    }
    let heard = get(&world, "/link.txt", "").await;
    assert!(heard.ends_with("\r\n\r\noutside"), "the owner of the folder has put the link there: {heard}");
}

#[tokio::test]
async fn a_path_of_a_known_stream_is_its_origins() {
    let (world, origin, _folder) = world_with_files().await;
    assert!(get(&world, "/live.m3u8", "").await.ends_with("#EXTM3U"), "no stream has this name");
    let key = std::sync::Arc::new("__defaultVhost__/players/p".parse().unwrap());
    let request = crate::placement::PlaceRequest {
        key: &key,
        role: crate::flow::Role::Publish,
        protocol: crate::flow::Protocol::Flv,
        vip: [127, 0, 0, 1].into(),
        client: ([127, 0, 0, 1], 40000).into(),
        exclude: &[],
    };
    world.proxy.store.place(&request, world.proxy.clock.now()).await.unwrap();
    assert!(get(&world, "/players/p.m3u8", "").await.ends_with("the origin's"));
    assert_eq!(origin.heard().len(), 1);
}
