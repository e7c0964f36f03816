//! One packet of a publisher becomes one of a player: the same sequence number and time, the player's own SSRC and
//! payload type. Nothing is held back, put in order or made up.

use super::session::Session;
use std::time::Instant;
use str0m::format::PayloadParams;
use str0m::media::{KeyframeRequestKind, MediaKind};
use str0m::rtp::{RtpPacket, RtpWrite};

pub fn write(player: &mut Session, packet: &RtpPacket, params: PayloadParams, now: Instant) {
    let audio = params.spec().codec.is_audio();
    let kind = if audio { MediaKind::Audio } else { MediaKind::Video };
    let (Some(mid), Some(pt)) = (player.media(kind), player.payload_type(params)) else {
        player.unmatched += 1;
        return;
    };
    let mut direct = player.rtc.direct_api();
    let Some(stream) = direct.stream_tx_by_mid(mid, None) else { return };
    let rtp = RtpWrite::new(pt, packet.seq_no, packet.header.timestamp, now, packet.payload.clone());
    stream.write_rtp(rtp.marker(packet.header.marker).nackable(!audio));
    player.sent += 1;
    // It leaves the queue when time goes on.
    player.tick(now);
}

pub fn ask(publisher: &mut Session, kind: KeyframeRequestKind) {
    let Some(mid) = publisher.media(MediaKind::Video) else { return };
    if let Some(stream) = publisher.rtc.direct_api().stream_rx_by_mid(mid, None) {
        stream.request_keyframe(kind);
        publisher.keyframes_asked += 1;
    }
}
