//! One stream with two publishers, each through a balancer of its own that shares a store with the other.

mod hosts_scene;

use balancer_lab::balancer::RTMP_PORT;
use balancer_lab::ffmpeg::{Clip, Player, Publisher};
use balancer_lab::hosts::{Hosts, HostsPlot};
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::Plot;
use balancer_lab::wait::wait_until;
use hosts_scene::{LATER, NEEDS, tails};
use serde_json::Value;

const FRAMES: u64 = 50;
const KEY: &str = "__defaultVhost__/live/a";

fn url(hosts: &Hosts, pair: usize) -> String {
    format!("rtmp://{}/live/a", hosts.vip(pair, RTMP_PORT))
}

fn stream(hosts: &Hosts, machine: usize) -> Value {
    let all = hosts.balancer(machine).list("streams").unwrap_or_default();
    all.into_iter().find(|listed| listed["key"] == KEY).unwrap_or_default()
}

/// Both balancers say so of the stream.
fn wait_both(hosts: &Hosts, what: &str, is: impl Fn(&Value) -> bool) {
    wait_until(what, LATER, || [0, 1].iter().all(|machine| is(&stream(hosts, *machine))))
        .unwrap_or_else(|error| panic!("{error:#}: {:#} {:#}\n{}", stream(hosts, 0), stream(hosts, 1), tails(hosts)));
}

#[test]
fn a_backup_that_waits_at_one_balancer_takes_over_for_the_viewers_of_both() {
    if !met(&[NEEDS, &[Need::Media]].concat()) {
        return;
    }
    let plot = Plot::default().origins(3).nginx().config("second_publisher = \"backup\"");
    let hosts = HostsPlot::new(2, plot).store().build().unwrap();
    [0, 1].into_iter().for_each(|machine| hosts.wait_origins(machine).unwrap());
    let (netns, directory) = (&hosts.scene.dc.clients[0].netns, hosts.scene.dc.directory());
    let clip = Clip::make(directory).unwrap();
    let publish =
        |pair: usize, name: &str| Publisher::start(netns, directory, name, &clip, &url(&hosts, pair)).unwrap();
    let play = |pair: usize, name: &str| Player::start(netns, directory, name, &url(&hosts, pair)).unwrap();
    let first = publish(0, "first");
    wait_both(&hosts, "the first to publish", |stream| stream["publisher"] == true);
    let home = stream(&hosts, 0)["origin"].clone();
    let mut players = [0, 1].map(|pair| play(pair, &format!("p{pair}")));
    let second = publish(1, "second");
    wait_both(&hosts, "the second to wait", |stream| stream["backup"].is_string() && stream["origin"] == home);
    let backup = stream(&hosts, 0)["backup"].clone();
    assert_ne!(backup, home);
    wait_until("the second to send", LATER, || {
        let flows = hosts.balancer(1).flows().unwrap_or_default();
        flows.iter().any(|flow| flow["role"] == "publish" && flow["origin"] == backup && flow["path"] == "kernel")
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", tails(&hosts)));
    for player in &players {
        player.wait_frames(player.frames() + FRAMES, LATER).unwrap();
    }
    assert_eq!((first.attempts(), second.attempts()), (1, 1), "both go on\n{}", tails(&hosts));

    drop(first);
    wait_both(&hosts, "the backup to take over", |stream| stream["origin"] == backup && stream["publisher"] == true);
    for (pair, player) in players.iter_mut().enumerate() {
        wait_until(&format!("player {pair} to be reset"), LATER, || !player.is_running())
            .unwrap_or_else(|error| panic!("{error:#}\n{}", tails(&hosts)));
    }
    for pair in [0, 1] {
        play(pair, &format!("again{pair}")).wait_frames(FRAMES, LATER).unwrap();
    }
    assert_eq!(second.attempts(), 1, "the backup's connection is the same all along");
    assert_eq!(hosts.balancer(1).reason("backup").unwrap(), 1.0);
}
