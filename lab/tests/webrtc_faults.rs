//! WebRTC when things go wrong: the process dies, datagrams are forged or nonsense, clients and origins fall silent.

mod rtc_scene;

use balancer_lab::data_centre::Layout;
use balancer_lab::requirements::{Need, met};
use balancer_lab::rtc::RtcRole;
use balancer_lab::rtc::stun::{PRIORITY, USERNAME, forged, request, send_from_new_ports};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::wait::wait_until;
use rtc_scene::{LATER, media, nothing_lost, rtc_flows, start, wait_rtc_flows};

const NEEDS: &[Need] = &[Need::Network, Need::Balancer, Need::Rtc];
const FRAMES: u64 = 50;

fn strangers(scene: &Scene) -> u64 {
    scene.rtc.iter().map(|origin| origin.stats().unwrap().strangers()).sum()
}

#[test]
fn killed_in_the_middle_it_finds_its_sessions_again() {
    if !met(NEEDS) {
        return;
    }
    let mut scene = Plot::default().origins(2).rtc().build().unwrap();
    let publisher = start(&scene, RtcRole::Publish, "s1", 1);
    publisher.wait_connected(LATER).unwrap();
    let players = start(&scene, RtcRole::Play, "s1", 3);
    players.wait_frames(FRAMES, LATER).unwrap();
    wait_rtc_flows(&scene, 4, "kernel");
    scene.balancer.kill();
    for seen in players.wait_frames(FRAMES, LATER).unwrap() {
        assert_eq!(seen.number("lost"), 0, "{seen:#?}");
    }
    // Nobody but the kernel is there to follow them.
    players.order("move").unwrap();
    players.wait_frames(FRAMES, LATER).unwrap();
    scene.balancer.launch().unwrap();
    let flows = rtc_flows(&scene);
    assert!(flows.len() >= 4 && flows.iter().all(|flow| flow["path"] == "kernel"), "{flows:#?}");
    players.wait_frames(FRAMES, LATER).unwrap();
    players.order("move").unwrap();
    players.wait_frames(FRAMES, LATER).unwrap();
    wait_until("both origins to register again", SOON, || {
        scene.balancer.list("origins").is_ok_and(|origins| origins.len() == 2)
    })
    .unwrap();
    for seen in players.order("end").unwrap().iter().chain(&publisher.order("end").unwrap()) {
        assert_eq!(seen.number("deleted"), 200, "through the new process: {seen:#?}");
    }
    wait_rtc_flows(&scene, 0, "kernel");
    for origin in &scene.rtc {
        assert!(origin.stats().unwrap().sessions().is_empty());
    }
}

#[test]
fn a_request_for_nobody_reaches_no_origin() {
    if !met(NEEDS) {
        return;
    }
    for mode in ["native", "off"] {
        let scene = Plot::default().rtc().settings(move |settings| settings.xdp_mode = mode).build().unwrap();
        let publisher = start(&scene, RtcRole::Publish, "s1", 1);
        publisher.wait_connected(LATER).unwrap();
        let datagrams: Vec<_> = (0..200).map(|i| forged(&format!("nobody{i}:knows"))).collect();
        send_from_new_ports(&scene.dc.clients[0].netns, media(&scene), &datagrams).unwrap();
        wait_until("all of them to be counted", SOON, || {
            scene.balancer.reason("rtc_unknown").is_ok_and(|count| count >= 200.0)
        })
        .unwrap();
        let player = start(&scene, RtcRole::Play, "s1", 1);
        player.wait_frames(FRAMES, LATER).unwrap();
        assert_eq!(strangers(&scene), 0);
        assert_eq!(rtc_flows(&scene).len(), 2);
    }
}

#[test]
fn who_knows_a_name_disturbs_nobody_and_is_limited() {
    if !met(NEEDS) {
        return;
    }
    let layout = Layout { clients: 2, ..Layout::default() };
    let scene = Plot::default().layout(layout).rtc().build().unwrap();
    let publisher = start(&scene, RtcRole::Publish, "s1", 1);
    publisher.wait_connected(LATER).unwrap();
    let player = start(&scene, RtcRole::Play, "s1", 1);
    let seen = player.wait_frames(FRAMES, LATER).unwrap().remove(0);
    wait_rtc_flows(&scene, 2, "kernel");
    let name = format!("{}:lab1", seen.text("ufrag"));
    let datagrams: Vec<_> = (0..500).map(|_| forged(&name)).collect();
    send_from_new_ports(&scene.dc.clients[1].netns, media(&scene), &datagrams).unwrap();
    let seen = player.wait_frames(2 * FRAMES, LATER).unwrap().remove(0);
    assert_eq!(seen.number("lost"), 0, "{seen:#?}");
    let stats = scene.rtc[0].stats().unwrap();
    assert_eq!(stats.sum("moves"), 0, "{stats:#?}");
    let reached = strangers(&scene);
    assert!(reached <= 32, "{reached} of 500 forged requests reached the origin");
    let refused = scene.balancer.reason("rtc_addresses").unwrap();
    assert!(refused >= 400.0, "{refused} were counted");
    // The owner of the name may still move.
    player.order("move").unwrap();
    player.wait_frames(FRAMES, LATER).unwrap();
    nothing_but_forgeries(&scene);
}

fn nothing_but_forgeries(scene: &Scene) {
    let stats = scene.rtc[0].stats().unwrap();
    assert!(stats.strange_names().iter().all(|name| name.ends_with(":lab1")), "{stats:#?}");
    assert_eq!(stats.strangers(), stats.strange_stun(), "{stats:#?}");
}

#[test]
fn nonsense_is_counted_and_reaches_nobody() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().rtc().build().unwrap();
    let publisher = start(&scene, RtcRole::Publish, "s1", 1);
    publisher.wait_connected(LATER).unwrap();
    let long = vec![b'a'; 600];
    let many: Vec<(u16, &[u8])> = (0..300).map(|_| (0x8022, &b""[..])).collect();
    let whole = forged("nobody:knows");
    let mut lying = whole.clone();
    lying[3] = lying[3].wrapping_add(40);
    let mut attribute = whole.clone();
    attribute[22..24].copy_from_slice(&1000u16.to_be_bytes());
    let mut cases: Vec<Vec<u8>> = vec![
        request(&[(USERNAME, b"")]),
        request(&[(USERNAME, &long)]),
        request(&many),
        request(&[(PRIORITY, &[0; 4])]),
        request(&[(USERNAME, b"no-colon-in-it")]),
        lying,
        attribute,
        vec![0x80; 40],
        vec![0x16; 200],
        vec![0xff; 1200],
        Vec::new(),
    ];
    cases.extend((1..whole.len()).map(|length| whole[..length].to_vec()));
    send_from_new_ports(&scene.dc.clients[0].netns, media(&scene), &cases).unwrap();
    let player = start(&scene, RtcRole::Play, "s1", 1);
    player.wait_frames(FRAMES, LATER).unwrap();
    // Some are counted by the kernel and again by user space, none by nobody.
    let reasons = ["stun_malformed", "rtc_unknown", "rtc_stray"];
    let counts = reasons.map(|reason| scene.balancer.reason(reason).unwrap());
    assert!(counts.iter().sum::<f64>() >= cases.len() as f64, "{counts:?} of {}", cases.len());
    nothing_lost(&scene);
    assert_eq!(rtc_flows(&scene).len(), 2);
}

#[test]
fn a_session_of_which_nothing_is_heard_ends() {
    if !met(NEEDS) {
        return;
    }
    let plot = Plot::default().rtc().config("rtc_idle_timeout = \"3s\"");
    let mut scene = plot.build().unwrap();
    let publisher = start(&scene, RtcRole::Publish, "s1", 1);
    publisher.wait_connected(LATER).unwrap();
    let player = start(&scene, RtcRole::Play, "s1", 1);
    player.wait_frames(FRAMES, LATER).unwrap();
    wait_rtc_flows(&scene, 2, "kernel");
    // The origin's process dies: nobody answers, whatever the clients go on saying.
    scene.rtc.clear();
    player.kill();
    publisher.kill();
    wait_rtc_flows(&scene, 0, "kernel");
    wait_until("no name of ICE to be left", LATER, || {
        scene.balancer.metric("balancer_map_entries", &["map=\"ICE\""]).is_ok_and(|entries| entries == 0.0)
    })
    .unwrap();
}
