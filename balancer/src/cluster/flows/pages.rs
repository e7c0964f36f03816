//! A balancer's flows, page by page: the next ones are read, and understood, while those that came before are made.

use super::fit::{Reading, read};
use crate::cluster::{FlowPage, Shelf, ShelfError};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Pages that were read and wait.
const AHEAD_MAX: usize = 4;
const TRIES: usize = 5;

/// Records, and what they say.
type Page = Vec<(Arc<str>, Reading)>;

pub(super) struct Pages {
    coming: mpsc::Receiver<Result<Page, ShelfError>>,
    /// To be said when what came before it is handled.
    failed: Option<ShelfError>,
}

impl Pages {
    pub fn of(shelf: Arc<dyn Shelf>, owner: Arc<str>) -> Self {
        let (pages, coming) = mpsc::channel(AHEAD_MAX);
        tokio::spawn(async move {
            let mut next = Some(0);
            while let Some(number) = next {
                let page = page_of(&*shelf, &owner, number).await;
                next = page.as_ref().ok().and_then(|page| page.next);
                let page = page.map(|page| page.flows.into_iter().map(|text| (text.clone(), read(&text))).collect());
                if pages.send(page).await.is_err() {
                    // Nobody waits for it any more.
                    return;
                }
            }
        });
        Self { coming, failed: None }
    }

    /// What was read by now, about `most` records. `None`: those were all.
    pub async fn next(&mut self, most: usize) -> Result<Option<Page>, ShelfError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let Some(page) = self.coming.recv().await else { return Ok(None) };
        let mut flows = page?;
        while flows.len() < most
            && let Ok(page) = self.coming.try_recv()
        {
            match page {
                Ok(more) => flows.extend(more),
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        Ok(Some(flows))
    }
}

/// A store that is late once is asked again: a take-over must not begin anew with every late page of many.
async fn page_of(shelf: &dyn Shelf, owner: &str, number: u64) -> Result<FlowPage, ShelfError> {
    for _ in 1..TRIES {
        match shelf.flows_of(owner, number).await {
            Err(ShelfError::Late) => {}
            answer => return answer,
        }
    }
    shelf.flows_of(owner, number).await
}
