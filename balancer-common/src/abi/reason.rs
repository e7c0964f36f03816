//! The numbered reasons: why a packet went where it went, why a stream was placed, why a hand-over failed.
//!
//! One list for the kernel, the control plane, `balancer status`, `/metrics` and the log. Numbers are never reused.

/// Slots of the `REASONS` map; every [`Reason`] is below.
pub const REASONS: u32 = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasonKind {
    /// Forwarded in the kernel.
    Forward,
    /// Passed to the host's stack on behalf of the balancer.
    Upcall,
    /// Passed to the host's stack: none of the balancer's business.
    Pass,
    Drop,
    /// Where a stream went (counted by the control plane).
    Placement,
    /// How a hand-over ended (counted by the control plane).
    Splice,
    /// A limit was reached (counted by the control plane).
    Limit,
    /// What several balancers do together (counted by the control plane).
    Cluster,
}

/// Value of `REASONS`, per CPU: frames and their bytes, Ethernet header included.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ReasonCount {
    pub packets: u64,
    pub bytes: u64,
}

#[cfg(feature = "user")]
// SAFETY: repr(C), two u64.
unsafe impl aya::Pod for ReasonCount {}

macro_rules! reasons {
    ($($(#[doc = $help:literal])+ $name:ident = $number:literal, $kind:ident, $label:literal;)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Reason {
            $($(#[doc = $help])+ $name = $number,)+
        }

        impl Reason {
            pub const ALL: &[Reason] = &[$(Reason::$name,)+];

            pub const fn kind(self) -> ReasonKind {
                match self { $(Reason::$name => ReasonKind::$kind,)+ }
            }

            /// The name in metrics, JSON and logs.
            pub const fn label(self) -> &'static str {
                match self { $(Reason::$name => $label,)+ }
            }

            /// What it means and what to do about it.
            pub const fn help(self) -> &'static str {
                match self { $(Reason::$name => concat!($($help),+),)+ }
            }
        }

        const _: () = { $(assert!($number < REASONS);)+ };
    };
}

reasons! {
    /// Client data rewritten and sent to the origin.
    ToOrigin = 1, Forward, "to_origin";
    /// Origin data rewritten and sent to the client.
    ToClient = 2, Forward, "to_client";
    /// An ICMP error about a spliced flow, translated and sent to the other end.
    Icmp = 3, Forward, "icmp";
    /// A packet of a flow whose origin is down, answered with a RST.
    OriginDown = 4, Forward, "origin_down";
    /// A client said more while its one HTTP request is under way. Client and origin get a RST, and the client asks anew.
    AnotherRequest = 5, Forward, "another_request";
    /// A STUN binding request from a new address, for which the kernel made a flow.
    IceMade = 6, Forward, "ice_made";
    /// An SRT induction, answered by the kernel.
    SrtAnswered = 7, Forward, "srt_answered";
    /// An SRT rendezvous, refused by the kernel: callers are to call.
    SrtRendezvous = 8, Forward, "srt_rendezvous";
    /// A datagram larger than the next link carries, answered with the proper ICMP.
    TooBig = 9, Forward, "too_big";

    /// A SYN for a service.
    NewConnection = 16, Upcall, "new_connection";
    /// A packet for a service whose connection is in user space or unknown.
    NoFlow = 17, Upcall, "no_flow";
    /// A packet of a connection that may still be handed over.
    Tracked = 18, Upcall, "tracked";
    /// A pure ACK during a hand-over.
    HoldAck = 19, Upcall, "hold_ack";
    /// A data packet during a hand-over, trimmed to its ACK; the sender sends the data again.
    HoldTrimmed = 20, Upcall, "hold_trimmed";
    /// A hand-over ran into its deadline; data is passed again.
    HoldExpired = 21, Upcall, "hold_expired";
    /// A SYN on a finished flow: the port is in use again.
    Reused = 22, Upcall, "reused";
    /// A packet of a finished flow whose port is in use again.
    Closed = 23, Upcall, "closed";
    /// Part of a request that is under way, sent again while the balancer's socket can still acknowledge it.
    BeforeBase = 24, Upcall, "before_base";
    /// A STUN binding request whose user name is nobody's: has the session ended, or is it another balancer's?
    IceUnknown = 25, Upcall, "ice_unknown";
    /// A session's client came from more addresses at once than it is granted ports: a forged request?
    IceNoPort = 26, Upcall, "ice_no_port";
    /// A STUN request that user space has to join: a neighbour not heard of yet, another address family, a long name.
    IceNoWay = 27, Upcall, "ice_no_way";
    /// An SRT conclusion with a valid cookie.
    SrtConclusion = 28, Upcall, "srt_conclusion";
    /// Two packets of one client at once made the same flow, or FLOWS4/FLOWS6 is full.
    IceRaced = 29, Upcall, "ice_raced";
    /// A datagram larger than the next link carries, whose sender lets it be cut up: left to the stack.
    ToFragment = 30, Upcall, "to_fragment";

    /// Not IPv4 or IPv6.
    NotIp = 32, Pass, "not_ip";
    /// Neither TCP, UDP nor ICMP.
    OtherProtocol = 33, Pass, "other_protocol";
    /// IPv4 options: left to the stack.
    IpOptions = 34, Pass, "ip_options";
    /// A fragment: left to the stack.
    Fragment = 35, Pass, "fragment";
    /// IPv6 extension headers: left to the stack.
    ExtensionHeader = 36, Pass, "extension_header";
    /// Too short for its own headers: left to the stack, which counts it.
    Truncated = 37, Pass, "truncated";
    /// Neither a flow nor a service of the balancer.
    NotOurs = 38, Pass, "not_ours";
    /// ICMP that is not about a spliced flow.
    IcmpOther = 39, Pass, "icmp_other";
    /// A packet of a flow that no balancer knows (any more): left to the stack, which refuses it.
    Nobodys = 40, Pass, "nobodys";

    /// A SYN on a live spliced flow: never forwarded into the origin's listener.
    SynOnLiveFlow = 64, Drop, "syn_on_live_flow";
    /// A FIN, SYN or urgent packet during a hand-over; the sender sends it again.
    Held = 65, Drop, "held";
    /// TCP header length beyond the packet.
    BadTcpHeader = 66, Drop, "bad_tcp_header";
    /// TTL or hop limit used up: routing loop between balancer and origin?
    TtlExpired = 67, Drop, "ttl_expired";
    /// The flow's next hop is not known (yet): is the neighbour reachable?
    NoNextHop = 68, Drop, "no_next_hop";
    /// The kernel refused to resize a frame.
    ResizeFailed = 69, Drop, "resize_failed";
    /// The kernel refused to redirect: is the interface up, with an XDP program?
    RedirectFailed = 70, Drop, "redirect_failed";
    /// A packet that no RST can answer, since it carries no ACK (or is UDP), of a flow whose origin is down or whose
    /// client said more than its one request.
    OriginDownNoAck = 71, Drop, "origin_down_no_ack";
    /// An SRT conclusion with a cookie that was never given to its sender.
    SrtBadCookie = 72, Drop, "srt_bad_cookie";
    /// An SRT conclusion with a cookie that is too old: the caller begins anew.
    SrtStaleCookie = 73, Drop, "srt_stale_cookie";
    /// No SRT handshake at all, though it says so.
    SrtMalformed = 74, Drop, "srt_malformed";
    /// A STUN message whose lengths or attributes contradict each other, or that names nobody where it should.
    StunMalformed = 75, Drop, "stun_malformed";
    /// UDP over IPv6 without a checksum (RFC 8200 section 8.1).
    UdpNoChecksum = 76, Drop, "udp_no_checksum";
    /// A packet of a flow that may be another balancer's, while the store is asked; its sender sends it again.
    Asked = 77, Drop, "asked";

    /// A stream nobody served was placed on the least loaded origin.
    PlacedLeastLoad = 96, Placement, "least_load";
    /// The stream was on an origin already.
    PlacedSticky = 97, Placement, "sticky";
    /// A viewer of an unknown stream: a short lease that the publisher may move.
    PlacedViewer = 98, Placement, "viewer";
    /// The first choice did not answer: another origin in the same attempt.
    PlacedRetry = 99, Placement, "retry";
    /// The default origin, since none is registered.
    PlacedDefault = 100, Placement, "default";
    /// No healthy origin speaks the protocol: register one or look at `balancer origins`.
    NoOrigin = 101, Placement, "no_origin";
    /// Rendezvous hashing by policy.
    PlacedRendezvous = 102, Placement, "rendezvous";
    /// Round robin by policy.
    PlacedRoundRobin = 103, Placement, "round_robin";
    /// Every origin has reached its capacity: add one, or raise `capacity`.
    AtCapacity = 104, Placement, "at_capacity";
    /// The authentication hook said no: see the hook's own log.
    Denied = 105, Placement, "denied";
    /// The authentication hook failed or did not answer in time: is it up, and as fast as its time limit asks?
    AuthFailed = 106, Placement, "auth_failed";
    /// An origin's hook reported a stream that is published directly at that origin.
    Claimed = 107, Placement, "claimed";
    /// An SRT caller whose stream id is missing, none, or may be read in two ways: refused with 1400, or 1405 for its `m`.
    SrtBadName = 108, Placement, "srt_bad_name";
    /// An SRT caller from before version 1.3, which cannot name a stream: refused as too old. Upgrade it.
    SrtOldVersion = 109, Placement, "srt_old_version";
    /// An origin refused an SRT caller, which was told its reason: see the origin's own log.
    SrtRefused = 110, Placement, "srt_refused";
    /// An origin did not complete an SRT handshake; another one was asked: is its SRT port right, does it listen?
    SrtOriginFailed = 111, Placement, "srt_origin_failed";
    /// An origin's answer to a WebRTC offer has no ice-ufrag, no sense, or a compression: is that port WHIP's?
    RtcNoName = 112, Placement, "rtc_no_name";
    /// An origin's answer to a WebRTC offer has no UDP candidate: does the origin serve WebRTC by UDP, and know its address?
    RtcNoCandidate = 113, Placement, "rtc_no_candidate";
    /// An origin's answer names an address that no origin may have: register its `rtc` endpoint, or widen `origin_networks`.
    RtcOutside = 114, Placement, "rtc_outside";
    /// An origin's answer wants RTCP on a port of its own: switch rtcp-mux on there.
    RtcApart = 115, Placement, "rtc_apart";
    /// Another balancer had placed the stream in the same moment.
    PlacedElsewhere = 116, Placement, "elsewhere";
    /// The store was not reached: placed by rendezvous hashing, as every balancer would.
    PlacedAlone = 117, Placement, "alone";
    /// A viewer was sent to a copy of the stream: another origin, or an edge, that has it too.
    PlacedCopy = 118, Placement, "copy";
    /// The stream is published already, and `second_publisher` says that the second one is refused.
    PublisherRefused = 119, Placement, "publisher_refused";
    /// A second publisher has taken the stream over, as `second_publisher` says: the first one was reset.
    PublisherReplaced = 120, Placement, "publisher_replaced";
    /// A stream's publisher has died: its viewers were moved to the backup's origin.
    BackupTakesOver = 121, Placement, "backup";
    /// An edge fetches a stream: it was sent to the stream's own origin.
    PlacedPull = 122, Placement, "pull";

    /// Spliced before the trigger was sent on: no byte of media passed user space.
    SplicedArmed = 128, Splice, "armed";
    /// Spliced at a quiet gap of a relayed flow.
    SplicedHeld = 129, Splice, "held";
    /// The XDP program is not attached: run with an interface, see `balancer check`.
    SpliceOff = 130, Splice, "off";
    /// The legs' chunk sizes, chunk headers or stream ids cannot agree: relayed and translated for good.
    SpliceDisagree = 131, Splice, "disagree";
    /// Client and VIP differ from the origin in address family.
    SpliceFamily = 132, Splice, "family";
    /// A leg closed before the hand-over was done.
    SpliceEnded = 133, Splice, "ended";
    /// No quiet point before the deadline; tried again later.
    SpliceBusy = 134, Splice, "busy";
    /// The trigger does not fit one segment; relayed until a quiet gap.
    SpliceLong = 135, Splice, "long";
    /// The kernel refused a socket option: CAP_NET_ADMIN and a kernel with TCP_REPAIR are needed.
    SpliceSocket = 136, Splice, "socket";
    /// A map refused an entry: is FLOWS4, FLOWS6 or NEXT_HOPS full?
    SpliceMap = 137, Splice, "map";
    /// The kernel has not seen the leg's packets: do they come in by an interface without the program?
    SpliceUnseen = 138, Splice, "unseen";
    /// Too many hand-overs failed on this flow; relayed for good.
    SpliceGaveUp = 139, Splice, "gave_up";
    /// TLS is terminated in user space: relayed for good.
    SpliceTls = 140, Splice, "tls";
    /// The request's head is too long to be told from a further request, or its answer was no upgrade: relayed for good.
    SpliceRequest = 141, Splice, "request";

    /// `handshakes_max`: too many connections whose stream is not known yet.
    LimitHandshakes = 160, Limit, "handshakes";
    /// `handshakes_per_client_max`: too many of them from one address.
    LimitHandshakesPerClient = 161, Limit, "handshakes_per_client";
    /// The first bytes did not name a stream within `preamble_bytes_max`.
    LimitPreambleBytes = 162, Limit, "preamble_bytes";
    /// The first bytes did not name a stream within `preamble_timeout_s`.
    LimitPreambleTime = 163, Limit, "preamble_time";
    /// All source ports towards an origin are in use or in quarantine: widen `source_ports`.
    LimitSourcePorts = 164, Limit, "source_ports";
    /// More hand-overs in progress than `TRACKS4`/`TRACKS6` can hold: the connection is relayed.
    LimitTracks = 165, Limit, "tracks";
    /// `flows_max`.
    LimitFlows = 166, Limit, "flows";
    /// More streams than the `STREAMS` map can hold.
    LimitStreams = 167, Limit, "streams";
    /// A request's head was larger than allowed: answered with 431.
    LimitHead = 168, Limit, "head_bytes";
    /// A request's head did not come to its end in time: answered with 408.
    LimitHeadTime = 169, Limit, "head_time";
    /// More requests than allowed were waiting for their answers on one connection: closed.
    LimitPipelined = 170, Limit, "pipelined";
    /// No further request came within the keep-alive time: the connection was closed.
    LimitKeepAlive = 171, Limit, "keep_alive";
    /// What came from a network in `proxy_protocol_from` began as a PROXY header and is none: the connection was closed.
    LimitProxyHeader = 172, Limit, "proxy_header";
    /// A TLS handshake that came to nothing: the client's versions, ciphers or bytes, or it does not trust the certificate.
    LimitTls = 173, Limit, "tls_handshake";
    /// `http_connections_max`: too many connections whose requests are proxied; answered with 503.
    LimitHttpConnections = 174, Limit, "http_connections";
    /// `http_connections_per_client_max`: too many of them from one address; answered with 503.
    LimitHttpConnectionsPerClient = 175, Limit, "http_connections_per_client";
    /// Too many requests of one client to one origin were under way: answered with 503.
    LimitRequestsPerClient = 176, Limit, "requests_per_client";
    /// Too many calls of the API that ask all origins were under way: answered with 503.
    LimitQuestions = 177, Limit, "questions";
    /// More SETUPs in one RTSP conversation than a player needs: answered with 503 and closed.
    LimitSetups = 180, Limit, "setups";
    /// An RTSP player with media by UDP said nothing for two session time-outs: the session was ended.
    LimitSessionSilent = 181, Limit, "session_silent";
    /// More SRT handshakes at once than can be remembered: refused with 1402.
    LimitSrtCalls = 182, Limit, "srt_calls";
    /// An SRT conclusion that was answered long before: somebody has recorded it, or the network is very slow.
    SrtReplayed = 183, Drop, "srt_replayed";
    /// An SRT packet for a flow that user space does not know (any more): its sender gives up, or begins anew.
    SrtStray = 184, Drop, "srt_stray";
    /// User space carries all the flows of UDP that it may: is the fast path off, or can it not take them (`splice_*`)?
    LimitRelayed = 185, Limit, "relayed";
    /// User space carries all the flows of UDP that it may for one address.
    LimitRelayedPerClient = 186, Limit, "relayed_per_client";
    /// A datagram that user space relays was lost, because the buffer of the socket that it was to leave by was full.
    UdpBufferFull = 187, Drop, "udp_buffer_full";
    /// A client of WebRTC came from more addresses than one more a second, or its session had all the flows that it may
    /// have: does somebody forge its requests?
    LimitRtcAddresses = 188, Limit, "rtc_addresses";
    /// A session of WebRTC got another flow, from another address of its client's. Many a second: forged requests?
    LimitRtcMigrations = 189, Limit, "rtc_migrations";
    /// The origin answered nothing to a client of WebRTC, or less than to all others of a session that has too many: it is
    /// no client, or the origin's `rtc` address is not reached.
    LimitRtcUnanswered = 190, Limit, "rtc_unanswered";
    /// A STUN request whose user name is nobody's came to user space: dropped. Has its session ended?
    LimitRtcUnknown = 191, Limit, "rtc_unknown";
    /// A datagram that is no STUN request came to the `rtc` port without a flow: dropped.
    LimitRtcStray = 192, Limit, "rtc_stray";
    /// More names of WebRTC sessions than the `ICE` map can hold: the offer was refused.
    LimitRtcSessions = 193, Limit, "rtc_sessions";
    /// A client address has offered more sessions of WebRTC than it has begun: answered with 503. Does its UDP reach us?
    LimitRtcUnconfirmed = 194, Limit, "rtc_unconfirmed";
    /// More packets of unknown flows than the store is asked about: their senders send them again.
    LimitQuestionsOfFlows = 195, Limit, "flow_questions";
    /// More flows began and ended than could be written to the store: another balancer cannot carry all of them on.
    LimitFlowRecords = 196, Limit, "flow_records";
    /// More was to be said between balancers about their flows than can wait: who owns one, or that it is over, is found out
    /// when all are looked through again, or by silence.
    LimitFlowWords = 197, Limit, "flow_words";

    /// The store did not answer within its deadline: is it overloaded, or far away?
    StoreLate = 208, Cluster, "store_late";
    /// The store could not be reached, or broke off: see the log for its address and the error.
    StoreDown = 209, Cluster, "store_down";
    /// The store refused: no rights, no memory, or read-only. See the log for its words.
    StoreRefused = 210, Cluster, "store_refused";
    /// A record that is none of ours, or says what it must not: ignored. Who else writes under our prefix?
    RecordForeign = 211, Cluster, "record_foreign";
    /// A record in the format of another version: ignored. Upgrade the older balancers.
    RecordFormat = 212, Cluster, "record_format";
    /// Two balancers wrote the same record at once; this one began anew with what the other had written.
    RecordRaced = 213, Cluster, "record_raced";
    /// A record that should be there was not (emptied store, lost push, lost write): written or read again.
    RecordRepaired = 214, Cluster, "record_repaired";
    /// A stream was placed differently while the store was away; this balancer's flows of it gave way.
    ConflictLost = 215, Cluster, "conflict_lost";
    /// The same, and the other balancers' gave way.
    ConflictWon = 216, Cluster, "conflict_won";
    /// A flow of another balancer was carried on.
    FlowTaken = 217, Cluster, "flow_taken";
    /// A flow of another balancer whose packets come here too: forwarded as a guest.
    FlowGuest = 218, Cluster, "flow_guest";
    /// A flow of another balancer that could not be carried on: its origin, its stream or its way is not known here.
    FlowNotTaken = 219, Cluster, "flow_not_taken";
    /// The store was asked for a flow and does not know it.
    FlowNotFound = 220, Cluster, "flow_not_found";
    /// Another balancer has not been heard for its time: what it carried is free to be taken.
    PeerLost = 221, Cluster, "peer_lost";
    /// Two balancers have an address and ports towards origins in common, or one id: give each its own.
    PeerCollision = 222, Cluster, "peer_collision";
    /// A session of WebRTC that another balancer has signalled was carried on here.
    SessionTaken = 226, Cluster, "session_taken";
}

const _: () = assert!(size_of::<ReasonCount>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_labels_are_unique_per_kind() {
        for (i, a) in Reason::ALL.iter().enumerate() {
            for b in &Reason::ALL[i + 1..] {
                assert_ne!(*a as u32, *b as u32);
                assert!(a.kind() != b.kind() || a.label() != b.label(), "{a:?} {b:?}");
            }
        }
    }
}
