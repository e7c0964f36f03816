//! What a person sees at the start: what is served, by which means, and what to try next.

use crate::offload::Interface;
use crate::slowpath::Context;
use balancer_common::abi::ServiceKind;
use std::net::SocketAddr;

pub fn print(ctx: &Context, services: &[(ServiceKind, SocketAddr)]) {
    let settings = &ctx.settings;
    let fast_path = match &ctx.offload {
        None => "off: everything is relayed (see `balancer check`)".to_owned(),
        Some(offload) => {
            let one = |i: &Interface| format!("{} ({})", i.name, i.mode);
            let all: Vec<String> = offload.interfaces().iter().map(one).collect();
            format!("XDP on {}, pinned at {}", all.join(", "), settings.pin_path.display())
        }
    };
    println!("balancer {}", env!("CARGO_PKG_VERSION"));
    for (kind, address) in services {
        println!("  {:<10}  {address}", name(*kind));
    }
    println!("  system API  http://{}", settings.system_api);
    println!("  fast path   {fast_path}");
    if let Some(hook) = &settings.auth_hook {
        println!("  asked first {hook:?}");
    }
    let Some((_, first)) = services.iter().find(|(kind, _)| *kind == ServiceKind::Rtmp) else { return };
    println!("Register an origin (SRS does it by itself, with heartbeat on):");
    println!(
        "  curl -d '{{\"ip\":\"ORIGIN_IP\",\"server\":\"o1\",\"service\":\"1\",\"pid\":\"1\",\"rtmp\":[\"1935\"]}}' \
         http://{}/api/v1/srs/register",
        settings.system_api
    );
    println!("Publish:");
    println!("  ffmpeg -re -i FILE -c copy -f flv rtmp://{first}/live/livestream");
}

fn name(kind: ServiceKind) -> &'static str {
    match kind {
        ServiceKind::Rtmp => "RTMP",
        ServiceKind::Http => "HTTP",
        ServiceKind::Api => "HTTP API",
        ServiceKind::Srt => "SRT",
        ServiceKind::WebRtc => "WebRTC",
        ServiceKind::Rtsp => "RTSP",
    }
}
