//! Tests of the roster: which slots move when a neighbour does, without a kernel.

use super::*;

const A: Mac = [2, 0, 0, 0, 0, 0xa];
const B: Mac = [2, 0, 0, 0, 0, 0xb];
const C: Mac = [2, 0, 0, 0, 0, 0xc];

fn address(ip: &str) -> Address {
    Address { ifindex: 2, ip: ip.parse().unwrap() }
}

fn at(ip: &str, mac: Mac) -> Entry {
    Entry { address: address(ip), mac: Some(mac), failed: false, upkeep: Upkeep::Kernel }
}

fn asked(ip: &str) -> Entry {
    Entry { mac: None, ..at(ip, A) }
}

fn silent(ip: &str) -> Entry {
    Entry { failed: true, ..asked(ip) }
}

fn gone(ip: &str) -> Entry {
    Entry { upkeep: Upkeep::Absent, ..asked(ip) }
}

fn hop(mac: Mac) -> Hop {
    Hop { ifindex: 2, mac }
}

fn moves(from: Mac, to: Mac, by: &str) -> Action {
    Action::Move { hop: hop(from), new: to, by: address(by) }
}

/// A roster with the slots that it decides about.
struct Scene {
    roster: Roster,
    slots: BTreeSet<Hop>,
    gateways: BTreeSet<Address>,
}

impl Scene {
    fn new(slots: &[Mac], gateways: &[&str], entries: &[Entry]) -> Self {
        let gateways = gateways.iter().map(|ip| address(ip)).collect();
        let mut scene = Self { roster: Roster::default(), slots: slots.iter().map(|m| hop(*m)).collect(), gateways };
        assert_eq!(scene.dump(entries), []);
        scene
    }

    fn dump(&mut self, entries: &[Entry]) -> Vec<Action> {
        self.roster.dumped(entries);
        self.decide()
    }

    fn news(&mut self, entry: Entry) -> Vec<Action> {
        if self.roster.notified(&entry) { self.decide() } else { Vec::new() }
    }

    /// As the task does it.
    fn decide(&mut self) -> Vec<Action> {
        let mut actions = self.roster.decide(&self.slots, None);
        self.apply(&actions);
        if actions.contains(&Action::AskGateways) {
            actions.retain(|a| *a != Action::AskGateways);
            let more = self.roster.decide(&self.slots, Some(&self.gateways));
            assert!(!more.contains(&Action::AskGateways));
            self.apply(&more);
            actions.extend(more);
        }
        actions
    }

    fn apply(&mut self, actions: &[Action]) {
        for action in actions {
            if let Action::Move { hop, new, .. } = action {
                assert!(self.slots.remove(hop));
                self.slots.insert(Hop { mac: *new, ..*hop });
            }
        }
    }

    fn upkeep(&mut self) -> Vec<Action> {
        self.roster.upkeep(&self.slots)
    }
}

#[test]
fn a_slot_follows_the_only_address_behind_it() {
    let mut scene = Scene::new(&[A], &[], &[at("10.0.0.1", A), at("10.0.0.9", C)]);
    assert_eq!(scene.news(at("10.0.0.1", B)), [moves(A, B, "10.0.0.1")]);
    assert_eq!(scene.news(at("10.0.0.1", B)), []);
    assert_eq!(scene.news(at("10.0.0.1", A)), [moves(B, A, "10.0.0.1")], "and back");
}

#[test]
fn what_the_news_lost_the_dump_finds() {
    let mut scene = Scene::new(&[A], &[], &[at("10.0.0.1", A)]);
    assert_eq!(scene.dump(&[at("10.0.0.1", B)]), [moves(A, B, "10.0.0.1")]);
}

#[test]
fn neighbours_of_no_next_hop_may_move_as_they_like() {
    let mut scene = Scene::new(&[A], &[], &[at("10.0.0.1", A), at("10.0.0.9", C)]);
    assert_eq!(scene.news(at("10.0.0.9", B)), []);
    let elsewhere = Entry { address: Address { ifindex: 3, ip: "10.0.0.1".parse().unwrap() }, ..at("10.0.0.1", A) };
    assert_eq!(scene.news(elsewhere), []);
    assert_eq!(scene.news(Entry { mac: Some(B), ..elsewhere }), [], "another interface");
}

#[test]
fn a_mac_that_changes_right_after_a_flow_began_is_noticed() {
    let mut scene = Scene::new(&[], &[], &[at("10.0.0.1", A)]);
    scene.slots.insert(hop(A));
    assert_eq!(scene.news(at("10.0.0.1", B)), [moves(A, B, "10.0.0.1")]);
}

#[test]
fn a_gateway_takes_the_slot_along_though_its_router_lives() {
    let entries = [at("10.0.0.1", A), at("10.0.0.2", A), at("fe80::2", A)];
    let mut scene = Scene::new(&[A], &["10.0.0.1"], &entries);
    assert_eq!(scene.news(at("10.0.0.1", B)), [moves(A, B, "10.0.0.1")]);
    assert_eq!(scene.dump(&[at("10.0.0.1", A), at("10.0.0.2", A), at("10.0.0.3", B)]), [moves(B, A, "10.0.0.1")]);
}

#[test]
fn two_gateways_of_one_router_move_the_slot_when_both_went() {
    let mut scene = Scene::new(&[A], &["10.0.0.1", "fe80::1"], &[at("10.0.0.1", A), at("fe80::1", A)]);
    let kept = Action::Keep { hop: hop(A), moved: address("10.0.0.1"), stays: address("fe80::1") };
    assert_eq!(scene.news(at("10.0.0.1", B)), [Action::Probe(address("fe80::1")), kept]);
    assert_eq!(scene.dump(&[at("10.0.0.1", B), at("fe80::1", A)]), [], "said and asked once");
    assert_eq!(scene.news(at("fe80::1", B)), [moves(A, B, "10.0.0.1")]);
}

#[test]
fn an_address_that_is_left_alone_by_its_host_holds_the_slot_until_it_falls_silent() {
    let mut scene = Scene::new(&[A], &[], &[at("10.0.0.5", A), at("10.0.0.6", A)]);
    assert_eq!(scene.news(at("10.0.0.5", B)).len(), 2, "probed and kept");
    assert_eq!(scene.news(silent("10.0.0.6")), [moves(A, B, "10.0.0.5")]);
}

#[test]
fn an_address_that_is_being_asked_for_has_not_said_where_it_is() {
    let mut scene = Scene::new(&[A], &[], &[at("10.0.0.5", A), at("10.0.0.6", A)]);
    assert_eq!(scene.dump(&[]), [], "the link went down");
    assert_eq!(scene.upkeep(), [Action::Manage(address("10.0.0.5")), Action::Manage(address("10.0.0.6"))]);
    assert_eq!(scene.news(asked("10.0.0.6")), []);
    let kept = Action::Keep { hop: hop(A), moved: address("10.0.0.5"), stays: address("10.0.0.6") };
    assert_eq!(scene.news(at("10.0.0.5", B)), [kept]);
    assert_eq!(scene.news(at("10.0.0.6", A)), []);
    assert_eq!(scene.slots, [hop(A)].into());
}

#[test]
fn an_address_long_silent_holds_nothing_back_while_it_is_asked_for_again() {
    let mut scene = Scene::new(&[A], &[], &[at("10.0.0.5", A), at("10.0.0.6", A)]);
    assert_eq!(scene.news(silent("10.0.0.6")), []);
    assert_eq!(scene.news(asked("10.0.0.6")), []);
    assert_eq!(scene.news(at("10.0.0.5", B)), [moves(A, B, "10.0.0.5")]);
}

#[test]
fn addresses_that_went_apart_leave_the_slot_to_the_gateway() {
    let entries = [at("10.0.0.1", A), at("10.0.0.2", A)];
    let mut scene = Scene::new(&[A], &["10.0.0.2"], &entries);
    assert_eq!(scene.dump(&[at("10.0.0.1", B), at("10.0.0.2", C)]), [moves(A, C, "10.0.0.2")]);
    assert_eq!(scene.news(at("10.0.0.1", A)), [], "no longer behind it");
}

#[test]
fn a_neighbour_that_fell_silent_keeps_its_slot() {
    let mut scene = Scene::new(&[A], &[], &[at("10.0.0.1", A)]);
    assert_eq!(scene.news(silent("10.0.0.1")), []);
    assert_eq!(scene.news(gone("10.0.0.1")), []);
    assert_eq!(scene.upkeep(), [Action::Manage(address("10.0.0.1"))]);
    assert_eq!(scene.news(at("10.0.0.1", B)), [moves(A, B, "10.0.0.1")], "replaced after a while");
}

#[test]
fn the_kernel_is_asked_to_probe_next_hops_and_nobody_else() {
    let unkept = |ip, mac| Entry { upkeep: Upkeep::Nobody, ..at(ip, mac) };
    let fixed = Entry { upkeep: Upkeep::Somebody, ..at("10.0.0.2", A) };
    let entries = [unkept("10.0.0.1", A), fixed, unkept("10.0.0.9", C)];
    let mut scene = Scene::new(&[A], &[], &entries);
    assert_eq!(scene.upkeep(), [Action::Manage(address("10.0.0.1"))]);
    assert_eq!(scene.upkeep(), [Action::Manage(address("10.0.0.1"))], "an old kernel: again, as a probe");
    assert_eq!(scene.dump(&[at("10.0.0.1", A), fixed]), []);
    assert_eq!(scene.upkeep(), []);
    let moved = Entry { mac: Some(B), ..fixed };
    assert_eq!(scene.dump(&[at("10.0.0.1", B), moved]), [moves(A, B, "10.0.0.1")], "followed all the same");
}

#[test]
fn an_entry_that_vanished_is_not_made_again_while_others_watch() {
    let mut scene = Scene::new(&[A], &[], &[at("10.0.0.1", A), at("10.0.0.2", A)]);
    assert_eq!(scene.dump(&[at("10.0.0.1", A)]), []);
    assert_eq!(scene.upkeep(), []);
    assert_eq!(scene.news(at("10.0.0.1", B)), [moves(A, B, "10.0.0.1")]);
}

#[test]
fn a_refused_address_is_news_once_and_holds_nothing_back() {
    let mut scene = Scene::new(&[A], &[], &[at("10.0.0.5", A), at("10.0.0.6", A)]);
    assert_eq!(scene.dump(&[]), []);
    assert!(scene.roster.refused(address("10.0.0.6")));
    assert!(!scene.roster.refused(address("10.0.0.6")));
    assert_eq!(scene.news(at("10.0.0.5", B)), [moves(A, B, "10.0.0.5")]);
}

#[test]
fn what_cannot_be_watched_is_said_once() {
    let crowd: Vec<Entry> = (1..=20).map(|i| at(&format!("10.0.0.{i}"), A)).collect();
    let unkept: Vec<Entry> = crowd.iter().map(|e| Entry { upkeep: Upkeep::Nobody, ..*e }).collect();
    let mut scene = Scene::new(&[A, C], &[], &unkept);
    let actions = scene.upkeep();
    assert_eq!(actions.iter().filter(|a| matches!(a, Action::Manage(_))).count(), MANAGED_PER_HOP_MAX);
    assert_eq!(actions[MANAGED_PER_HOP_MAX..], [Action::Unwatched(hop(C)), Action::Crowded(hop(A))]);
    assert_eq!(scene.dump(&crowd), []);
    assert_eq!(scene.upkeep(), []);
}

#[test]
fn forgotten_addresses_take_no_room() {
    let mut scene = Scene::new(&[A], &[], &[at("10.0.0.1", A), at("10.0.0.9", C)]);
    assert_eq!(scene.dump(&[at("10.0.0.1", A)]), []);
    assert_eq!(scene.roster.known.len(), 1);
    assert_eq!(scene.roster.overlooked(), 0);
}
