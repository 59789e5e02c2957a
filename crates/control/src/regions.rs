//! The regions of a service: which there are, and whose node does the work of a row.
//!
//! A region has a node of its own, and that its disks and a vault; what they share is the catalogue and the process. What
//! must stay true: every row's region is served while the catalogue is open, so each has its node; the home region stays
//! the same, as the data of its node lies in another place than that of the others.
//!
//! Not here: where a node keeps its data, and which vault it has (who starts the service).

use crate::catalogue::regions::{self, RegionRow};
use crate::config::{ControlConfig, RegionConfig};
use crate::store::{Store, StoreError, StoreErrorKind, Transaction};
use crate::{Control, ControlError};
use tidemark_ecs::ApiError;
use tidemark_node::Node;

impl Control {
    /// The region that a request means: the one that it names, or the home region. 404 for one that is not served.
    pub(crate) fn region(&self, given: Option<&str>) -> Result<&RegionConfig, ApiError> {
        let Some(given) = given else {
            return Ok(self.home_region());
        };
        self.find_region(given)
            .ok_or_else(|| ApiError::region_not_found(given))
    }

    /// The region of that id, if it is served.
    pub(crate) fn find_region(&self, id: &str) -> Option<&RegionConfig> {
        self.config().regions.iter().find(|region| region.id == id)
    }

    /// What is meant where nobody names a region.
    pub(crate) fn home_region(&self) -> &RegionConfig {
        // `check` has seen to it that there is one.
        &self.config().regions[0]
    }

    /// The node that does the work of a region's rows.
    pub(crate) fn node_of(&self, region: &str) -> Result<&Node, StoreError> {
        let place = self.config().regions.iter().position(|known| known.id == region);
        place.and_then(|place| self.nodes().get(place)).ok_or_else(|| {
            StoreError::new(
                StoreErrorKind::Corrupt,
                "region of a row",
                format!("region {region:?} is not served"),
            )
        })
    }
}

/// Refuses what no service can be made of.
pub(crate) fn check(config: &ControlConfig, nodes: usize) -> Result<(), ControlError> {
    let refuse = |why: String| Err(ControlError::Config(why));
    if config.regions.is_empty() || config.regions.len() != nodes {
        return refuse(format!(
            "{} regions and {nodes} nodes, where each region needs one",
            config.regions.len()
        ));
    }
    for (at, region) in config.regions.iter().enumerate() {
        if region.zones.is_empty() {
            return refuse(format!("region {} has no zone", region.id));
        }
        if config.regions[..at].iter().any(|other| other.id == region.id) {
            return refuse(format!("region {} is named twice", region.id));
        }
    }
    Ok(())
}

/// Brings the catalogue's regions and the configured ones together, or says why they do not go together.
pub(crate) async fn settle(store: &Store, config: &ControlConfig) -> Result<(), ControlError> {
    let served: Vec<String> = config.regions.iter().map(|region| region.id.clone()).collect();
    let settled = store.write(move |t| settle_in(t, &served)).await?;
    settled.map_err(ControlError::Config)
}

fn settle_in(t: &mut dyn Transaction, served: &[String]) -> Result<Result<(), String>, StoreError> {
    let Some(home) = served.first() else {
        return Ok(Ok(()));
    };
    let in_use = regions::in_use(t)?;
    if let Some(before) = regions::home(t)?.filter(|before| before.id != *home) {
        if in_use.contains(&before.id) {
            let why = format!(
                "this catalogue's home region is {}, and {home} was named first; name {} first",
                before.id, before.id
            );
            return Ok(Err(why));
        }
        let was_beside = RegionRow::get(t, home.as_str())?.is_some_and(|row| !row.home);
        if was_beside && in_use.contains(home) {
            let why = format!(
                "{home} has resources and was served beside the home region {}, so their data lies in a directory of its \
                 own, where the home region's is not looked for; name {} first, as before",
                before.id, before.id
            );
            return Ok(Err(why));
        }
        before.remove(t)?;
    }
    let left_out = in_use
        .iter()
        .find(|region| !region.is_empty() && !served.contains(region));
    if let Some(region) = left_out {
        let why =
            format!("the catalogue has resources in region {region}, which is not among those to serve");
        return Ok(Err(why));
    }
    for id in served {
        let row = RegionRow {
            id: id.clone(),
            home: id == home,
        };
        match RegionRow::get(t, id.as_str())? {
            Some(_) => row.save(t)?,
            None => row.insert(t)?,
        }
    }
    regions::adopt(t, home)?;
    Ok(Ok(()))
}
