//! What an operator is shown of the shelf and of the other balancers.

use super::super::Store;
use crate::cluster::ShelfError;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShelfView {
    pub is_up: bool,
    /// What is wrong with it.
    pub trouble: Option<ShelfError>,
    /// Records that it has not taken yet.
    pub waiting: usize,
    /// In the order of their ids.
    pub peers: Vec<PeerView>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    pub id: Arc<str>,
    pub version: String,
    /// `None`: nobody has asked yet.
    pub lives: Option<bool>,
    pub is_draining: bool,
}

impl Store {
    /// `None`: this balancer is alone.
    pub fn shelf_view(&self) -> Option<ShelfView> {
        let state = self.lock();
        let replica = state.shared.as_ref()?;
        let peer = |(id, peer): (&Arc<str>, &super::replica::Peer)| PeerView {
            id: id.clone(),
            version: peer.seen.record.version.clone(),
            lives: peer.lives,
            is_draining: peer.seen.record.draining,
        };
        let mut peers: Vec<_> = replica.peers.iter().map(peer).collect();
        peers.sort_by(|a, b| a.id.cmp(&b.id));
        let waiting = replica.dirty.len() + replica.later.len();
        Some(ShelfView { is_up: replica.is_up, trouble: replica.trouble.clone(), waiting, peers })
    }
}
