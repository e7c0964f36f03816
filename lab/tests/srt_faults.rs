//! SRT where something goes wrong: origins that refuse, say nothing or die, callers that repeat themselves or fall
//! silent, a balancer that is killed, a flood. Everybody else is served meanwhile.

use balancer_lab::data_centre::Family;
use balancer_lab::flood;
use balancer_lab::host::process_cpu_seconds;
use balancer_lab::origin::srt::SrtPeer;
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::srt_lite::packet::{Handshake, Kind};
use balancer_lab::srt_lite::{Answer, Caller, SrtManners};
use balancer_lab::wait::wait_until;
use std::path::Path;
use std::time::Duration;

const REAL: &[Need] = &[Need::Network, Need::Balancer, Need::Srt];
const NEEDS: &[Need] = &[Need::Network, Need::Balancer];
const WITHIN: Duration = Duration::from_secs(40);
const PUBLISH: &str = "#!::r=live/s1,m=publish";
const REQUEST: &str = "#!::r=live/s1,m=request";

fn host(scene: &Scene) -> (&balancer_lab::net::Netns, &Path) {
    (&scene.dc.clients[0].netns, scene.dc.directory())
}

fn caller(scene: &Scene, stream_id: &str) -> Caller {
    Caller::accepted(&scene.dc.clients[0].netns, scene.srt_vip(), stream_id).unwrap()
}

fn both_ways(plot: impl Fn() -> Plot, test: impl Fn(Plot)) {
    test(plot());
    test(plot().settings(|settings| settings.xdp_mode = "off"));
}

#[test]
fn the_origins_refusal_reaches_real_callers_as_it_is() {
    if !met(REAL) {
        return;
    }
    both_ways(Plot::default, |plot| {
        let scene = plot.srt().build().unwrap();
        for code in [1403, 2404] {
            let stream = format!("#!::r=live/reject-{code},m=publish");
            let caller = SrtPeer::publish(host(&scene), &code.to_string(), scene.srt_vip(), &stream, &[]).unwrap();
            assert_eq!(caller.wait_events("rejected", 1, WITHIN).unwrap()[0]["code"], code);
        }
        scene.wait_no_flows().unwrap();
        let served = SrtPeer::publish(host(&scene), "good", scene.srt_vip(), PUBLISH, &[]).unwrap();
        served.wait_events("connected", 1, WITHIN).unwrap();
    });
}

#[test]
fn without_any_origin_the_caller_is_told_so() {
    if !met(REAL) {
        return;
    }
    both_ways(Plot::default, |plot| {
        // Origins there are, but none that speaks SRT.
        let scene = plot.build().unwrap();
        let _hearing = scene.dc.hear_answers().unwrap();
        let caller = SrtPeer::play(host(&scene), "none", scene.srt_vip(), REQUEST, &[]).unwrap();
        let code = caller.wait_events("rejected", 1, WITHIN).unwrap()[0]["code"].as_u64().unwrap();
        assert!((1000..3000).contains(&code), "{code}");
        assert!(scene.balancer.flows().unwrap().is_empty());
    });
}

#[test]
fn an_origin_that_says_nothing_blocks_nobody_else() {
    if !met(NEEDS) {
        return;
    }
    both_ways(Plot::default, |plot| {
        let manners = |_| SrtManners { silent: Some("mute"), ..SrtManners::default() };
        let scene = plot.srt_lite(manners).build().unwrap();
        let netns = &scene.dc.clients[0].netns;
        let mut waiting = Vec::new();
        for i in 0..20 {
            let mut caller = Caller::bind(netns, scene.srt_vip()).unwrap();
            caller.induce().unwrap();
            let conclusion = caller.conclusion(format!("#!::r=live/mute{i},m=publish").as_bytes());
            caller.socket.send(&conclusion.bytes()).unwrap();
            waiting.push((caller, conclusion));
        }
        wait_until("all to be waiting", SOON, || scene.srt_lite[0].conclusions() >= 20).unwrap();
        // Each is served while all of those wait, so not one after the other.
        for i in 0..5 {
            drop(caller(&scene, &format!("#!::r=live/good{i},m=publish")));
        }
        for (mut caller, conclusion) in waiting {
            assert!(matches!(caller.conclude(&conclusion).unwrap(), Answer::Refused(_)));
        }
    });
}

#[test]
fn an_origin_that_cannot_be_reached_is_replaced_in_the_same_attempt() {
    if !met(NEEDS) {
        return;
    }
    let manners = |number| SrtManners { silent: (number == 0).then_some(""), ..SrtManners::default() };
    let scene = Plot::default().origins(2).srt_lite(manners).build().unwrap();
    for i in 0..6 {
        caller(&scene, &format!("#!::r=live/s{i},m=publish"));
    }
    assert_eq!(scene.srt_lite[1].taken().len(), 6);
}

#[test]
fn a_conclusion_that_is_repeated_is_answered_again_and_asked_once() {
    if !met(NEEDS) {
        return;
    }
    both_ways(Plot::default, |plot| {
        let scene = plot.srt_lite(|_| SrtManners::default()).build().unwrap();
        let mut caller = Caller::bind(&scene.dc.clients[0].netns, scene.srt_vip()).unwrap();
        caller.induce().unwrap();
        let conclusion = caller.conclusion(PUBLISH.as_bytes());
        // Three at once, and some more when the answer is known.
        for _ in 0..2 {
            caller.socket.send(&conclusion.bytes()).unwrap();
        }
        let first = caller.conclude(&conclusion).unwrap();
        for _ in 0..3 {
            assert_eq!(caller.conclude(&conclusion).unwrap(), first);
        }
        assert_eq!(scene.srt_lite[0].taken().len(), 1);
        wait_until("one flow", SOON, || scene.balancer.flows().is_ok_and(|flows| flows.len() == 1)).unwrap();
        caller.send_data(50, 1316).unwrap();
        wait_until("its media", SOON, || scene.srt_lite[0].data_of(PUBLISH) == 50).unwrap();
    });
}

#[test]
fn a_caller_may_call_again_from_the_same_port() {
    if !met(NEEDS) {
        return;
    }
    both_ways(Plot::default, |plot| {
        let scene = plot.srt_lite(|_| SrtManners::default()).build().unwrap();
        let mut caller = caller(&scene, PUBLISH);
        caller.send_data(20, 1316).unwrap();
        wait_until("its media", SOON, || scene.srt_lite[0].data_of(PUBLISH) == 20).unwrap();
        // Another call of the same program, which lost the first: no goodbye, another socket, another stream.
        caller.id += 0x0010_0000;
        caller.induce().unwrap();
        let conclusion = caller.conclusion(b"#!::r=live/s2,m=publish");
        assert!(matches!(caller.conclude(&conclusion).unwrap(), Answer::Accepted(_)));
        wait_until("the second flow alone", SOON, || {
            let flows = scene.balancer.flows().unwrap();
            flows.len() == 1 && flows[0]["stream"].as_str().unwrap().ends_with("/s2")
        })
        .unwrap();
        caller.send_data(20, 1316).unwrap();
        wait_until("its media", SOON, || scene.srt_lite[0].data_of("#!::r=live/s2,m=publish") == 20).unwrap();
    });
}

#[test]
fn a_caller_that_falls_silent_is_forgotten() {
    if !met(NEEDS) {
        return;
    }
    both_ways(Plot::default, |plot| {
        let scene = plot.srt_lite(|_| SrtManners::default()).build().unwrap();
        let caller = caller(&scene, PUBLISH);
        let before = scene.balancer.flows().unwrap();
        assert_eq!(before.len(), 1);
        // Keep-alives are enough to stay.
        for _ in 0..15 {
            caller.send_control(Kind::KeepAlive).unwrap();
            std::thread::sleep(Duration::from_secs(1));
        }
        assert_eq!(scene.balancer.flows().unwrap().len(), 1);
        scene.wait_no_flows().unwrap();
    });
}

#[test]
fn a_caller_that_speaks_to_nobody_is_forgotten_too() {
    if !met(NEEDS) {
        return;
    }
    both_ways(Plot::default, |plot| {
        let scene = plot.srt_lite(|_| SrtManners { says_nothing_more: true, ..SrtManners::default() }).build().unwrap();
        let caller = caller(&scene, PUBLISH);
        wait_until("the flow to end", SOON, || {
            caller.send_control(Kind::KeepAlive).unwrap();
            scene.balancer.flows().unwrap().is_empty()
        })
        .unwrap();
    });
}

#[test]
fn when_its_origin_is_gone_the_client_is_told_at_once() {
    if !met(NEEDS) {
        return;
    }
    both_ways(Plot::default, |plot| {
        let mut scene = plot.origins(2).srt_lite(|_| SrtManners::default()).build().unwrap();
        let mut player = caller(&scene, REQUEST);
        let flow = scene.balancer.flows().unwrap().remove(0);
        let lost = scene.srt_lite.iter().position(|origin| !origin.taken().is_empty()).unwrap();
        scene.registrars[lost] = None;
        let path = format!("/api/v1/origins/{}", flow["origin"].as_str().unwrap());
        let response = scene.balancer.request("DELETE", &path, None).unwrap();
        assert!((200..300).contains(&response.status), "{response:?}");
        // Without a word from the client.
        player.wait_shutdown(SOON).unwrap();
        scene.wait_no_flows().unwrap();
        let again = caller(&scene, REQUEST);
        assert_eq!(scene.srt_lite[1 - lost].taken().len(), 1);
        drop(again);
    });
}

#[test]
fn a_real_player_comes_back_after_its_origin_died() {
    if !met(REAL) {
        return;
    }
    let mut scene = Plot::default().config("origin_ttl = \"3s\"").srt().build().unwrap();
    let player = SrtPeer::play(host(&scene), "s1", scene.srt_vip(), REQUEST, &[]).unwrap();
    player.wait_events("connected", 1, WITHIN).unwrap();
    scene.wait_kernel(1).unwrap();
    // The process is gone, and with it the beats: nobody says goodbye but the balancer.
    scene.srt[0].0.kill();
    scene.registrars[0] = None;
    player.wait_events("ended", 1, WITHIN).unwrap();
    scene.wait_no_flows().unwrap();
}

#[test]
fn killed_in_the_middle_of_a_stream_it_adopts_it_and_nothing_is_missing() {
    if !met(REAL) {
        return;
    }
    for family in [Family::V4, Family::V6] {
        let mut scene = Plot::default().family(family).srt().build().unwrap();
        let publisher = SrtPeer::publish(host(&scene), "s1", scene.srt_vip(), PUBLISH, &["packets=14000"]).unwrap();
        publisher.wait_events("connected", 1, WITHIN).unwrap();
        let player = SrtPeer::play(host(&scene), "s1", scene.srt_vip(), REQUEST, &[]).unwrap();
        player.wait_events("connected", 1, WITHIN).unwrap();
        let before = scene.wait_kernel(2).unwrap();
        player.wait_packets(1400, WITHIN).unwrap();
        scene.balancer.kill();
        player.wait_packets(4200, WITHIN).unwrap();
        scene.balancer.launch().unwrap();
        let after = scene.wait_kernel(2).unwrap();
        for flow in &before {
            let same = |other: &&serde_json::Value| ["client", "source", "stream"].iter().all(|f| other[f] == flow[f]);
            assert!(after.iter().any(|other| same(&other)), "{flow:#} is not among {after:#?}");
        }
        publisher.wait_events("sent", 1, WITHIN).unwrap();
        assert_eq!(scene.srt[0].wait_published("live/s1", 14_000, WITHIN).unwrap(), (14_000, 0));
        assert_eq!(player.wait_packets(12_000, WITHIN).unwrap(), 0);
        // The adopted flow of a publisher that says goodbye ends as any other.
        drop(publisher);
        wait_until("the publisher's flow to end", SOON, || scene.balancer.flows().is_ok_and(|f| f.len() == 1)).unwrap();
    }
}

#[test]
fn a_flood_of_inductions_costs_the_control_plane_nothing_and_a_stream_no_packet() {
    if !met(REAL) {
        return;
    }
    const PER_SECOND: u64 = 200_000;
    const LASTING: Duration = Duration::from_secs(5);
    let mut plot = Plot::default();
    plot = plot.layout(balancer_lab::data_centre::Layout { clients: 2, ..Default::default() });
    let scene = plot.srt().build().unwrap();
    let more = ["packets=14000", "latency=2000"];
    let publisher = SrtPeer::publish(host(&scene), "s1", scene.srt_vip(), PUBLISH, &more).unwrap();
    publisher.wait_events("connected", 1, WITHIN).unwrap();
    let player = SrtPeer::play(host(&scene), "s1", scene.srt_vip(), REQUEST, &more).unwrap();
    player.wait_events("connected", 1, WITHIN).unwrap();
    scene.wait_kernel(2).unwrap();
    let upcalls = || scene.balancer.metric("balancer_upcalls_total", &[]).unwrap();
    let cpu = || process_cpu_seconds(scene.balancer.pid()).unwrap();
    let answered = || scene.balancer.reason("srt_answered").unwrap();
    let quiet = {
        let before = cpu();
        std::thread::sleep(LASTING);
        cpu() - before
    };
    let (upcalls_before, answered_before, cpu_before) = (upcalls(), answered(), cpu());
    let induction = Handshake::induction(1).bytes();
    let attacker = &scene.dc.clients[1].netns;
    let flooded = flood::run(attacker, scene.srt_vip(), &induction, PER_SECOND, LASTING).unwrap();
    let used = cpu() - cpu_before;
    eprintln!("{:.0} a second; control plane {used:.3} s, without the flood {quiet:.3} s", flooded.per_second());
    // What a full queue of the device dropped before anybody saw it, nobody answers.
    wait_until("inductions to be answered", SOON, || answered() - answered_before >= 100_000.0).unwrap();
    assert!(used < quiet + 0.5, "{used} s of CPU time, without the flood {quiet}");
    // Besides the flood, the registrar's beats come by TCP.
    let more = upcalls() - upcalls_before;
    assert!(more < 1000.0, "{more} upcalls during {} inductions", flooded.datagrams);
    publisher.wait_events("sent", 1, WITHIN).unwrap();
    assert_eq!(scene.srt[0].wait_published("live/s1", 14_000, WITHIN).unwrap(), (14_000, 0));
    assert_eq!(player.wait_packets(12_000, WITHIN).unwrap(), 0);
}
