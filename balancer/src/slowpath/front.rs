//! The first moments of a connection, before anybody knows what it wants: who speaks for whom, and which protocol the
//! port is for.

use super::admission::Admitted;
use super::connection::Connection;
use super::dialect::Dialect;
use super::legs::TcpLeg;
use super::{Context, greeting, http, rtmp, rtsp};
use balancer_common::abi::ServiceKind;
use std::sync::Arc;

pub async fn serve(ctx: Arc<Context>, client: TcpLeg, kind: ServiceKind, mut admitted: Admitted) {
    let Some((client, visitor)) = greeting::hear(&ctx, client, kind, &mut admitted).await else { return };
    match kind {
        ServiceKind::Rtmp => {
            let dialect = Dialect::Rtmp(Box::new(rtmp::Rtmp::new(&ctx)));
            Connection::new(ctx, client, visitor, dialect, Some(admitted)).live().await;
        }
        ServiceKind::Http | ServiceKind::Api => http::serve(ctx, client, visitor, kind, admitted).await,
        ServiceKind::Rtsp => {
            let dialect = Dialect::Rtsp(Box::new(rtsp::Rtsp::new(&ctx, &client, &visitor)));
            Connection::new(ctx, client, visitor, dialect, Some(admitted)).live().await;
        }
        // Not bound yet, or no TCP.
        ServiceKind::Srt | ServiceKind::WebRtc => {}
    }
}
