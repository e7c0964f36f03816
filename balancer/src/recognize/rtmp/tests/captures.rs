//! What real clients and nginx said to each other, recorded by `tests/captures/record`.

use super::origin::agree;
use super::{Role, recognize, same, serve};
use crate::recognize::rtmp::*;

pub struct Capture {
    pub name: &'static str,
    pub client: &'static [u8],
    pub nginx: &'static [u8],
    pub role: Role,
}

macro_rules! capture {
    ($name:literal, $role:ident) => {
        Capture {
            name: $name,
            client: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/", $name, ".client.bin")),
            nginx: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/", $name, ".nginx.bin")),
            role: Role::$role,
        }
    };
}

pub const CAPTURES: [Capture; 7] = [
    capture!("ffmpeg-publish", Publish),
    capture!("ffmpeg-play", Play),
    capture!("librtmp-publish", Publish),
    capture!("librtmp-play", Play),
    capture!("rtmp2sink-publish", Publish),
    capture!("rtmp2src-play", Play),
    capture!("rtmpdump-play", Play),
];

#[test]
fn every_client_is_recognized_at_every_split() {
    for Capture { name, client, role, .. } in &CAPTURES {
        let whole = recognize(client);
        assert_eq!(whole.key.to_string(), "__defaultVhost__/live/capture", "{name}");
        assert_eq!((whole.role, whole.stream_id), (*role, 1), "{name}");
        assert_eq!([&client[..3073], &whole.replay, &whole.trigger].concat(), *client, "{name}");
        for cut in 0..client.len() {
            let (got, _) = serve(ServerConfig::default(), client, &[cut]);
            assert!(same(&got.unwrap().expect("recognized"), &whole), "{name} cut at {cut}");
        }
    }
}

#[test]
fn nginx_agrees_with_every_client_at_every_split() {
    for Capture { name, client, nginx, role } in &CAPTURES {
        let request = recognize(client);
        let whole = agree(&request, nginx, &[]);
        assert!(whole.verbatim(&request), "{name}");
        assert_eq!((whole.chunk_size, whole.stream_id), (4096, 1), "{name}");
        // nginx answers a trigger with Stream Begin or a status at once: these are the client's.
        let first_kind = whole.leftover[7];
        assert_eq!(first_kind, if *role == Role::Play { 4 } else { 20 }, "{name}");
        for cut in 0..nginx.len() {
            let cut_once = agree(&request, nginx, &[cut]);
            assert_eq!(cut_once.leftover, whole.leftover, "{name} cut at {cut}");
            assert!(cut_once.verbatim(&request), "{name} cut at {cut}");
        }
    }
}
