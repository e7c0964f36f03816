//! Who may not have a stream is told so by HTTP, whatever it asks with, and its origin hears nothing of it.

use balancer_lab::auth_hook::AuthHook;
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::Plot;
use balancer_lab::web::origin::WebManners;
use balancer_lab::web::plan::{Shape, WebPlan};

const NEEDS: &[Need] = &[Need::Network, Need::Balancer];
const HOOK_PORT: u16 = 8085;
const HOOK: &str = "auth_hook = \"http://127.0.0.1:8085/auth\"";

#[test]
fn who_is_denied_gets_403_and_the_origin_hears_nothing() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().web(WebManners::default()).config(HOOK).build().unwrap();
    let hook = AuthHook::start(&scene.dc, HOOK_PORT).unwrap();
    let plan = WebPlan::new(1, 100_000, Shape::Length);
    let flv = plan.path("flv");
    let socket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let publisher = format!("{socket}Sec-WebSocket-Protocol: publisher\r\n");
    let (chunked, sized) = ("Transfer-Encoding: chunked\r\n", "Content-Length: 3\r\n");
    let (get, playlist, segment) = (format!("GET {flv}"), plan.path("m3u8"), flv.replace(".flv", "-1.ts"));
    let cases = [
        (get.clone(), "", ""),
        (get.clone(), socket, ""),
        (get.clone(), &publisher, ""),
        (format!("POST {flv}"), chunked, "3\r\nFLV\r\n0\r\n\r\n"),
        (format!("POST {flv}"), sized, "FLV"),
        (format!("GET {playlist}"), "", ""),
        (format!("GET {segment}"), "", ""),
        // As some origins read it.
        (format!("GET {flv}/"), "", ""),
    ];
    for (line, fields, body) in cases {
        for query in ["", "?token=bad", "?app=live&stream=other&token=bad"] {
            let case = format!("{line}{query} {fields}");
            let mut client = scene.dial_http().unwrap();
            client.send(format!("{line}{query} HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")).unwrap();
            assert_eq!(client.answer("GET").unwrap().status(), 403, "{case}");
        }
    }
    let asked = ["on_publish", "on_play"].map(|action| hook.asked(action).len());
    assert_eq!(asked[0], 3 * 3, "for each WebSocket that offers to publish, and each push");
    assert!(asked[1] >= 3 * 3, "for each player; what was said of a playlist is remembered: {asked:?}");
    assert!(scene.balancer.list("streams").unwrap().is_empty(), "nothing was placed");
    assert!(scene.balancer.reason("denied").unwrap() >= 20.0);
    let mut guest = scene.dial_http().unwrap();
    assert_eq!(guest.get(&format!("{flv}?token=good")).unwrap().body.len() as u64, plan.bytes);
    let arrived: Vec<_> = scene.web.iter().flat_map(|origin| origin.arrived()).collect();
    assert_eq!(arrived.len(), 1, "the guest's alone");
}
