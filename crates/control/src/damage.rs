//! Damage that a scrub has found or repaired becomes an event, once, whatever is missed in between.
//!
//! A node keeps what damage is open, and what it has repaired lately, in a file, and is done with it there before it says
//! that there is something new. What is said may be lost: nobody listens yet or any more, too much is said at once, the
//! catalogue cannot be written. So it is never gone by: what the node has noted is compared with what was told, at the
//! start, when something is said, and in every round of housekeeping; and what was told is noted in the transaction of its
//! event. What must stay true:
//! (1) one look at a time, from the reading of the file to the commit, so that none works with what another has told since;
//! (2) repairs first, so that damage that came back at the place of a repaired one is new;
//! (3) damage that is not open any more is forgotten only if the node lists all, and after a whole round: a file that was
//! lost says that nothing is open until then.
//!
//! Not here: a repair that was cut off by the end of the process is in the vault, and in no file.

use crate::Control;
use crate::catalogue::damage;
use crate::notices;
use crate::store::{StoreError, Transaction};
use std::collections::BTreeSet;
use std::time::Duration;
use tidemark_node::{Loss, RepairedLoss, ScrubState};

/// How long a node may take to say what it has noted: a small file.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is to be told of a region, and noted as told.
#[derive(Debug, Default)]
struct News {
    repaired: Vec<RepairedLoss>,
    found: Vec<Loss>,
    /// Places that are not open any more.
    over: Vec<String>,
}

impl Control {
    /// Tells of all damage that a region's node has noted and nobody was told of. `said`: what it has just said, of which
    /// some may be too much for its list. Failures are in the log: the next look makes up for them.
    pub(crate) async fn tell_damage(&self, region: &str, said: Vec<Loss>) {
        let _alone = self.telling().lock().await;
        let noted = match self.node_of(region) {
            Ok(node) => tokio::time::timeout(PATIENCE, node.scrub_state()).await,
            Err(error) => return tracing::error!(region, %error, "the region has no node"),
        };
        let state = match noted {
            Ok(Ok(Some(state))) => state,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => {
                return tracing::warn!(region, %error, "what the scrub has noted cannot be read now");
            }
            Err(_) => return tracing::warn!(region, "the node does not say what its scrub has noted"),
        };
        if let Err(error) = self.tell_noted(region, state, said).await {
            tracing::warn!(region, %error, "what the scrub found cannot be written down now; it will be");
        }
    }

    /// As [`Control::tell_damage`], of all regions.
    pub(crate) async fn tell_all_damage(&self) {
        for region in &self.config().regions {
            self.tell_damage(&region.id, Vec::new()).await;
        }
    }

    async fn tell_noted(&self, region: &str, state: ScrubState, said: Vec<Loss>) -> Result<(), StoreError> {
        let id = region.to_owned();
        let look = move |t: &mut dyn Transaction| News::of(t, &id, state, said);
        let news = self.store().read::<_, StoreError, _>(look).await?;
        if news.is_empty() {
            return Ok(());
        }
        let (account, region, now) = (self.config().account.clone(), region.to_owned(), self.now_ms());
        let tell = move |t: &mut dyn Transaction| news.tell(t, (&account, &region), now);
        self.store().write::<_, StoreError, _>(tell).await?;
        self.jobs().wake();
        Ok(())
    }
}

impl News {
    fn of(
        t: &mut dyn Transaction,
        region: &str,
        state: ScrubState,
        said: Vec<Loss>,
    ) -> Result<Self, StoreError> {
        let lists_all = state.unlisted == 0 && state.unlisted_now == 0;
        let newest = damage::repairs_told(t, region)?;
        let mut told: BTreeSet<String> = damage::told(t, region)?.into_iter().collect();
        let mut news = News::default();
        news.repaired.extend(
            state
                .repaired
                .into_iter()
                .filter(|repaired| repaired.number > newest),
        );
        for repaired in &news.repaired {
            told.remove(&damage::place(region, &repaired.loss));
        }
        // What is said and not listed, where all is, was repaired since.
        let unlisted = said.into_iter().filter(|_| !lists_all);
        let mut open = BTreeSet::new();
        for loss in state.open.into_iter().map(|open| open.loss).chain(unlisted) {
            let place = damage::place(region, &loss);
            if open.insert(place.clone()) && !told.contains(&place) {
                news.found.push(loss);
            }
        }
        if lists_all && state.last.is_some() {
            news.over
                .extend(told.into_iter().filter(|place| !open.contains(place)));
        }
        Ok(news)
    }

    fn is_empty(&self) -> bool {
        self.repaired.is_empty() && self.found.is_empty() && self.over.is_empty()
    }

    fn tell(
        &self,
        t: &mut dyn Transaction,
        (account, region): (&str, &str),
        now_ms: i64,
    ) -> Result<(), StoreError> {
        for RepairedLoss { number, loss } in &self.repaired {
            notices::vault_damage(t, (account, region), loss, true, now_ms)?;
            damage::forget(t, &damage::place(region, loss))?;
            damage::remember_repairs(t, region, *number)?;
        }
        for loss in &self.found {
            notices::vault_damage(t, (account, region), loss, false, now_ms)?;
            damage::remember(t, region, &damage::place(region, loss))?;
        }
        self.over.iter().try_for_each(|place| damage::forget(t, place))
    }
}
