//! What must hold of any packet: checksums verify, payloads stay, translation can be undone, nothing panics.

use balancer_common::{
    abi::{FlowFlags, NextHop, OriginState, Reason, Seen, Splice, Track},
    packet::header::tcp,
    steer::Verdict,
    testing::{
        build::{
            TcpOption::{self, Nop, Sack, Timestamps},
            TcpPacket,
        },
        cases::{self, LO, Stage},
        oracle,
        simulated::{Flow, Tuple, World, run},
    },
};
use proptest::{collection::vec, prelude::*};

const NOW_NS: u64 = 1 << 40;

fn options() -> impl Strategy<Value = Vec<TcpOption>> {
    let times = (any::<u32>(), 1..u32::MAX).prop_map(|(value, echo)| Timestamps(value, echo));
    let sack = |most| vec(any::<(u32, u32)>(), 1..=most).prop_map(Sack);
    (0..3usize, prop::option::of(times), 0..3usize, prop::option::of(sack(3))).prop_map(
        |(first, times, second, sack)| {
            let mut options = vec![Nop; first];
            options.extend(times);
            let len = options.len() - first;
            // Ten bytes of timestamps, 26 of SACK blocks: with more than four NOPs they would not fit.
            options.extend(vec![Nop; if len == 1 { second.min(4 - first.min(4)) } else { second }]);
            options.extend(sack);
            options
        },
    )
}

prop_compose! {
    fn packets()(
        stage in 0..6usize,
        (seq, ack, window) in any::<(u32, u32, u16)>(),
        flags in any::<u8>(),
        hops in 3..=255u8,
        options in options(),
        payload in vec(any::<u8>(), 0..100),
    ) -> (Stage, TcpPacket) {
        let stage = Stage::all().swap_remove(stage);
        let mut packet = stage.client_packet();
        packet.lower.hops = hops;
        (stage, TcpPacket { seq, ack, window, flags, options, payload, ..packet })
    }
}

prop_compose! {
    fn splices()(
        (seq_delta, ack_delta, tsval_delta, tsecr_delta) in any::<(u32, u32, u32, u32)>(),
        translate in (any::<bool>(), any::<bool>()),
    ) -> Splice {
        let flags = if translate.0 { FlowFlags::TIMESTAMPS } else { 0 } | if translate.1 { FlowFlags::SACK } else { 0 };
        Splice { flags, seq_delta, ack_delta, tsval_delta, tsecr_delta, ..Splice::default() }
    }
}

/// A world in which packets of `from` become packets of `to`, out of the interface they came in on.
fn world(from: Tuple, to: Tuple, splice: Splice) -> World {
    let splice = Splice { l4_diff: cases::l4_diff(&from, &to), ..splice };
    let mut world = World::default();
    let flow = Flow { splice, new: to, seen: 0, packets: 0, bytes: 0, last_seen: 0 };
    world.flows.insert(from, flow);
    world.origins.insert(0, (OriginState::Up as u32, 0));
    world.next_hops.insert(0, NextHop { ifindex: LO, device: 0, dst_mac: [1; 6], src_mac: [2; 6], mtu: 0 });
    world
}

/// How far before the base a segment that covers it begins, and its length: up to what an interface may merge.
fn covering() -> impl Strategy<Value = (u32, u32)> {
    (1..=65_000u32).prop_flat_map(|len| (0..len, Just(len)))
}

/// The same of a segment that lies below the base whole, within a request.
fn within_request() -> impl Strategy<Value = (u32, u32)> {
    (1..=FlowFlags::MUTE_REQUEST_MAX).prop_flat_map(|before| (Just(before), 1..=before))
}

/// The balancer's socket towards the client is still open.
fn armed(stage: &Stage, mut world: World) -> World {
    let key = stage.from_client();
    world.tracks.insert(key, Track::default());
    world.flows.entry(key).and_modify(|flow| flow.seen |= Seen::ARMED);
    world
}

fn inverse(splice: &Splice) -> Splice {
    Splice {
        seq_delta: splice.seq_delta.wrapping_neg(),
        ack_delta: splice.ack_delta.wrapping_neg(),
        tsval_delta: splice.tsval_delta.wrapping_neg(),
        tsecr_delta: splice.tsecr_delta.wrapping_neg(),
        ..*splice
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn translation_there_and_back_is_identity((stage, mut packet) in packets(), splice in splices()) {
        packet.flags &= !tcp::SYN;
        // A TSecr that becomes 0 on the way says "nothing to echo" on the way back.
        let is_lost = |o: &TcpOption| matches!(o, Timestamps(_, echo) if echo.wrapping_add(splice.tsecr_delta) == 0);
        prop_assume!(!packet.options.iter().any(is_lost));
        let (from, to) = (stage.from_client(), stage.from_origin().reversed());
        let frame = packet.frame();
        prop_assert!(oracle::is_valid(&frame));

        let (outcome, there, _) = run(&world(from, to, splice), &frame, NOW_NS);
        prop_assert_eq!(outcome.verdict, Verdict::Tx);
        oracle::judge(&frame, outcome, &there);
        prop_assert!(oracle::is_valid(&there));

        let (outcome, back, _) = run(&world(to, from, inverse(&splice)), &there, NOW_NS);
        prop_assert_eq!(outcome.verdict, Verdict::Tx);
        packet.lower.hops -= 2;
        (packet.lower.dst_mac, packet.lower.src_mac) = ([1; 6], [2; 6]);
        prop_assert_eq!(back, packet.frame());
    }

    #[test]
    fn whatever_the_splice_strips_the_checksum_verifies(
        (stage, packet) in packets(), splice in splices(), flags in any::<u32>(),
    ) {
        let splice = Splice { flags, ..splice };
        let (from, to) = (stage.from_client(), stage.from_origin().reversed());
        let frame = packet.frame();
        let (outcome, after, _) = run(&world(from, to, splice), &frame, NOW_NS);
        oracle::judge(&frame, outcome, &after);
    }

    #[test]
    fn an_origin_that_is_down_answers_valid_resets((stage, packet) in packets()) {
        let mut world = stage.world(0);
        world.origins.clear();
        let frame = packet.frame();
        let (outcome, after, _) = run(&world, &frame, NOW_NS);
        prop_assert!(outcome.verdict != Verdict::Tx || outcome.reason == Reason::OriginDown);
        oracle::judge(&frame, outcome, &after);
    }

    /// No length of a segment, no position of the base and no length of a request is told wrongly.
    #[test]
    fn what_covers_the_base_is_refused(stage in 0..6usize, base: u32, (before, len) in covering()) {
        let stage = &Stage::all()[stage];
        let packet = TcpPacket { seq: base.wrapping_sub(before), payload: vec![0; len as usize], ..stage.client_packet() };
        let (outcome, _, tables) = run(&stage.mute_world(base), &packet.frame(), NOW_NS);
        prop_assert_eq!((outcome.verdict, outcome.reason), (Verdict::Tx, Reason::AnotherRequest));
        prop_assert!(tables.world().flows.values().all(|flow| flow.seen & Seen::REFUSED != 0));
    }

    #[test]
    fn no_part_of_the_request_is_refused(stage in 0..6usize, base: u32, (before, len) in within_request()) {
        let stage = &Stage::all()[stage];
        let packet = TcpPacket { seq: base.wrapping_sub(before), payload: vec![0; len as usize], ..stage.client_packet() };
        let world = stage.mute_world(base);
        let (outcome, _, _) = run(&world, &packet.frame(), NOW_NS);
        prop_assert_eq!(outcome.reason, Reason::ToOrigin);
        let (outcome, _, _) = run(&armed(stage, world), &packet.frame(), NOW_NS);
        prop_assert_eq!((outcome.verdict, outcome.reason), (Verdict::Pass, Reason::BeforeBase));
    }

    #[test]
    fn bytes_changed_anywhere_break_no_promise(
        case: usize, seen in 0..32u32, changes in vec((0..200usize, any::<u8>()), 0..6),
    ) {
        thread_local!(static CASES: Vec<cases::Case> = cases::all());
        CASES.with(|cases| {
            let case = &cases[case % cases.len()];
            let mut frame = case.frame.clone();
            let len = frame.len();
            changes.iter().for_each(|(at, byte)| frame[at % len] = *byte);
            let mut world = case.world.clone();
            world.flows.values_mut().for_each(|flow| flow.seen |= seen & Seen::MASK);
            let (outcome, after, _) = run(&world, &frame, NOW_NS);
            oracle::judge(&frame, outcome, &after);
        });
    }

    #[test]
    fn random_bytes_never_panic(frame in vec(any::<u8>(), 0..300)) {
        let stage = &Stage::all()[0];
        let (outcome, after, _) = run(&stage.world(u32::MAX), &frame, NOW_NS);
        oracle::judge(&frame, outcome, &after);
    }
}
