//! Whether a caller may: one check, before any action runs.
//!
//! What must stay true: (1) the root key may do all; everybody else may do only what a policy allows and none denies,
//! for every resource that the request names; (2) the answer to somebody who may not is the same whether or not the
//! resource exists, and whose it is; (3) an action that has no row in [`table`] is denied to all who may not do
//! everything to everything.
//!
//! A resource's tags are looked up only where the answer may depend on them. Tags of a resource that is not there are
//! not known, which never helps a caller ([`tidemark_ecs::ram::condition`]).

mod table;

use crate::actions::tag_resources;
use crate::catalogue::tags::{self, ResourceType};
use crate::rules;
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control, Identity};
use std::collections::BTreeMap;
use tidemark_ecs::ram::condition::{Facts, Tags, request_tags};
use tidemark_ecs::ram::policies::SYSTEM;
use tidemark_ecs::ram::policy::{Question, Verdict};
use tidemark_ecs::{ApiError, Params};

/// How a request gives ids. Each row says it as its action reads it: with an id in a spelling that the action passes over,
/// the check would be about that id, and the answer about all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ids {
    /// `Name=id`
    Text(&'static str),
    /// `Name=["id"]`
    Json(&'static str),
    /// `Name.1=id`
    Repeat(&'static str),
    /// `Name.1.Member=id`
    Members(&'static str, &'static str),
}

/// Longest id that is looked at, in bytes. Ours have 22.
const ID_BYTES_MAX: usize = 256;

/// The ids that a request gives in these ways, and in no other.
fn ids(params: &Params, written: &[Ids]) -> Result<Vec<String>, ApiError> {
    let odd = (400, "InvalidParameter");
    let mut ids = Vec::new();
    for way in written {
        match way {
            Ids::Text(name) => ids.extend(params.text(name)),
            Ids::Json(name) => {
                let items = params.json_list(name, usize::MAX, odd, odd)?;
                ids.extend(items.unwrap_or_default());
            }
            Ids::Repeat(name) => ids.extend(params.list(name)?),
            Ids::Members(list, member) => {
                for item in params.structs(list)? {
                    ids.extend(item.text(member));
                }
            }
        }
    }
    match ids.iter().find(|id| id.len() > ID_BYTES_MAX) {
        Some(id) => {
            let why = format!("an id has {} bytes, where {ID_BYTES_MAX} are allowed", id.len());
            Err(ApiError::new(400, "InvalidParameter", why))
        }
        None => Ok(ids),
    }
}

/// What an action is about.
pub(crate) enum Target {
    /// The resources of a type whose ids these parameters give; where they give none, all of the type.
    Given(&'static str, &'static [Ids]),
    /// As `Given`, and where no id is given the list is filtered by the request's tags: they are what its rows have.
    Filtered(&'static str, &'static [Ids]),
    /// As `Given`, but nothing where they give none.
    If(&'static str, &'static [Ids]),
    /// One that is about to be made, with the tags of the request.
    New(&'static str),
    /// One that is about to be made in the region of another resource: its type, and the parameter that gives its id.
    NewBeside(&'static str, &'static str, &'static str),
    /// One that is about to be made in each of the regions that a parameter names.
    NewIn(&'static str, Ids),
    /// All of a type.
    All(&'static str),
    /// All of a type; of every region where the request names none.
    Anywhere(&'static str),
    /// All of a type of every region, whichever the request names.
    Everywhere(&'static str),
    /// All of a type, where the first parameter is given and the second is not.
    AllBy(&'static str, &'static str, &'static str),
    /// What tag actions name: those of `ResourceType` with these ids, or all; all of every type where there is no type.
    Tagged(&'static [Ids]),
    /// A user, role or policy whose name a parameter gives; all of them where it is empty.
    Ram(&'static str, &'static str),
    /// The policy that `PolicyType` and `PolicyName` name: those that come with the service are `system`'s.
    AnyPolicy,
    /// The user that `UserName` names, or the caller.
    Own,
    /// The parameter is the resource's full name.
    Arn(&'static str),
    /// All that the service has.
    Everything,
}

/// One resource that a request is about.
struct Resource {
    /// As policies name it, going by the request.
    name: String,
    /// The part of the name behind region and account.
    rest: String,
    /// What its tags are, before they were looked up.
    tags: Tags,
    /// Where they can be looked up: type and id.
    look_up: Option<(String, String)>,
    /// Type and id of what is in the same region, where the request names none.
    beside: Option<(String, String)>,
}

/// Whether the action has a row, so that policies can speak about its resources.
pub fn is_listed(action: &str) -> bool {
    row(action).is_some()
}

fn row(action: &str) -> Option<&'static table::Row> {
    table::ROWS.iter().find(|row| row.action == action)
}

impl Control {
    /// Refuses what the caller may not: 403 `Forbidden.RAM`, of the services beside ECS `NoPermission`. `service` is
    /// `ecs`, `ram` or `sts`; `params` have been found to be well formed.
    pub async fn authorize(
        &self,
        caller: &Caller,
        service: &str,
        action: &str,
        params: &Params,
    ) -> Result<(), ApiError> {
        if caller.identity == Identity::Root {
            return Ok(());
        }
        let on = row(action).map_or(&[Target::Everything][..], |row| row.on);
        let region = caller.region.as_deref();
        let unserved = region.filter(|id| service == "ecs" && self.find_region(id).is_none());
        let region = match unserved {
            // A region that is not there is in no resource's name: who may do this anywhere hears of it from the action.
            Some(_) if on.iter().any(|target| !matches!(target, Target::Everything)) => Some("*"),
            // What is the same everywhere.
            Some(_) => None,
            None => region,
        };
        let named = Named {
            control: self,
            caller,
            service,
            region,
            params,
        };
        let request_tags = Tags {
            known: request_tags(params)?,
            complete: true,
        };
        let (disk_policies, system_disk_policies) = match (service, action) {
            ("ecs", "CreateInstance" | "RunInstances") => new_disks(params)?,
            _ => (Vec::new(), Vec::new()),
        };
        let name = format!("{service}:{action}");
        for target in on {
            for resource in named.resources(target)? {
                // Where it is stays between us and the policies: what is told is what was asked for.
                let mut judged = resource.name.clone();
                if let (Some((kind, id)), None) = (&resource.beside, named.region)
                    && let Some(region) = self.region_of(caller, kind, id).await?
                {
                    judged = named.within(&region, &resource.rest);
                }
                let mut facts = Facts {
                    source: caller.source,
                    resource_tags: resource.tags.clone(),
                    request_tags: request_tags.clone(),
                    disk_policies: disk_policies.clone(),
                    system_disk_policies: system_disk_policies.clone(),
                };
                let ask = |facts: &Facts| {
                    caller.identity.judge(&Question {
                        action: &name,
                        resource: &judged,
                        facts,
                    })
                };
                // Allowed without knowing the tags is allowed whatever they are.
                if ask(&facts) == Verdict::Allowed {
                    continue;
                }
                if let Some((kind, id)) = &resource.look_up {
                    facts.resource_tags = self.tags_of(caller, kind, id).await?;
                    if ask(&facts) == Verdict::Allowed {
                        continue;
                    }
                }
                return Err(match unserved {
                    Some(region) => rules::unknown_region(action, region),
                    None => refusal(service, &name, &resource.name),
                });
            }
        }
        match (service, action, params.text("RamRoleName")) {
            ("ecs", "CreateInstance" | "RunInstances", Some(role)) => may_pass(caller, &role),
            _ => Ok(()),
        }
    }

    /// Whether the caller may make something of that type in a region, by an action of ECS whose request does not name
    /// it: 403 `Forbidden.RAM`.
    pub(crate) fn may_make(
        &self,
        caller: &Caller,
        action: &str,
        kind: &str,
        region: &str,
    ) -> Result<(), ApiError> {
        let (name, account) = (format!("ecs:{action}"), &caller.account);
        let resource = format!("acs:ecs:{region}:{account}:{kind}/*");
        let none = || Tags {
            known: BTreeMap::new(),
            complete: true,
        };
        let facts = Facts {
            source: caller.source,
            resource_tags: none(),
            request_tags: none(),
            ..Facts::default()
        };
        let question = Question {
            action: &name,
            resource: &resource,
            facts: &facts,
        };
        match caller.identity.judge(&question) {
            Verdict::Allowed => Ok(()),
            Verdict::NotAllowed | Verdict::Denied => Err(refusal("ecs", &name, &resource)),
        }
    }

    /// Where one of the caller's resources is: a request that names no region means it wherever that is.
    async fn region_of(&self, caller: &Caller, kind: &str, id: &str) -> Result<Option<String>, ApiError> {
        let Ok(kind) = kind.parse::<ResourceType>() else {
            return Ok(None);
        };
        let (account, id) = (caller.account.clone(), id.to_owned());
        let read = move |t: &mut dyn Transaction| -> Result<Option<String>, StoreError> {
            let sql = format!(
                "SELECT region FROM {} WHERE id = $1 AND account = $2",
                kind.table()
            );
            let row = t.query_one(&sql, &[id.into(), account.into()])?;
            row.map(|row| row.text(0)).transpose()
        };
        Ok(self.store().read(read).await?)
    }

    /// The tags of one of the caller's resources; of any other, nothing is known.
    async fn tags_of(&self, caller: &Caller, kind: &str, id: &str) -> Result<Tags, ApiError> {
        let (caller, kind, id) = (caller.clone(), kind.to_owned(), id.to_owned());
        let read = move |t: &mut dyn Transaction| -> Result<Tags, StoreError> {
            let exists = tag_resources::all_exist(t, &caller, &kind, std::slice::from_ref(&id));
            let Ok(kind) = exists else {
                return Ok(Tags::default());
            };
            let known = tags::of(t, kind, &id)?;
            Ok(Tags {
                known: known.into_iter().map(|tag| (tag.key, tag.value)).collect(),
                complete: true,
            })
        };
        Ok(self.store().read(read).await?)
    }
}

/// Of each data disk that a new instance is to have, and of its system disk, whether it gets an automatic snapshot policy.
/// Data disks that only its image knows of are not named, and not looked at.
fn new_disks(params: &Params) -> Result<(Vec<bool>, Vec<bool>), ApiError> {
    let has_policy = |disk: &Params| disk.text("AutoSnapshotPolicyId").is_some();
    let data = params.structs("DataDisk")?.iter().map(has_policy).collect();
    Ok((data, vec![has_policy(&params.fields("SystemDisk"))]))
}

/// Whether the caller may give a role to a machine, which is as good as having it: 403 `InvalidUser.PassRoleForbidden`.
fn may_pass(caller: &Caller, role: &str) -> Result<(), ApiError> {
    let none = || Tags {
        known: BTreeMap::new(),
        complete: true,
    };
    let resource = format!("acs:ram::{}:role/{role}", caller.account);
    let question = Question {
        action: "ram:PassRole",
        resource: &resource,
        facts: &Facts {
            source: caller.source,
            resource_tags: none(),
            request_tags: none(),
            ..Facts::default()
        },
    };
    if caller.identity.judge(&question) == Verdict::Allowed {
        return Ok(());
    }
    let message = format!("No policy of the caller allows ram:PassRole on {resource}, or one denies it.");
    Err(ApiError::new(403, "InvalidUser.PassRoleForbidden", message))
}

/// Says nothing that the caller did not say.
fn refusal(service: &str, action: &str, resource: &str) -> ApiError {
    let message = format!(
        "User not authorized to operate on the specified resource: no policy of the caller allows {action} on \
         {resource}, or one denies it."
    );
    let code = match service {
        "ecs" => "Forbidden.RAM",
        _ => "NoPermission",
    };
    ApiError::new(403, code, message)
}

/// What a request names, as policies name it.
struct Named<'a> {
    control: &'a Control,
    caller: &'a Caller,
    service: &'a str,
    /// The region that the request names: nothing in another one exists for it. `*`: one that is not served.
    region: Option<&'a str>,
    params: &'a Params,
}

impl Named<'_> {
    fn resources(&self, target: &Target) -> Result<Vec<Resource>, ApiError> {
        let one = |resource| Ok(vec![resource]);
        match target {
            Target::Given(kind, written) => {
                let found = self.given(kind, written)?;
                if found.is_empty() {
                    one(self.all(kind, Tags::default()))
                } else {
                    Ok(found)
                }
            }
            Target::Filtered(kind, written) => {
                let found = self.given(kind, written)?;
                if found.is_empty() {
                    one(self.all(kind, self.filter()?))
                } else {
                    Ok(found)
                }
            }
            Target::If(kind, written) => self.given(kind, written),
            Target::New(kind) => one(self.new_one(kind)?),
            Target::NewBeside(kind, other, parameter) => {
                let id = self.params.text(parameter);
                one(Resource {
                    beside: id.map(|id| ((*other).to_owned(), id)),
                    ..self.new_one(kind)?
                })
            }
            Target::NewIn(kind, written) => {
                let mut found = Vec::new();
                for region in ids(self.params, &[*written])? {
                    // The action refuses any other region by itself.
                    if self.control.find_region(&region).is_some() {
                        found.push(Resource {
                            name: self.within(&region, &format!("{kind}/*")),
                            ..self.new_one(kind)?
                        });
                    }
                }
                Ok(found)
            }
            Target::All(kind) => one(self.all(kind, Tags::default())),
            Target::Anywhere(kind) if self.region.is_some() => one(self.all(kind, Tags::default())),
            Target::Anywhere(kind) | Target::Everywhere(kind) => Ok(self.everywhere(kind)),
            Target::AllBy(kind, given, not) => {
                let named = self.params.get(given).is_some() && self.params.get(not).is_none();
                Ok(named
                    .then(|| self.all(kind, Tags::default()))
                    .into_iter()
                    .collect())
            }
            Target::Tagged(written) => {
                let Some(kind) = self.params.get("ResourceType") else {
                    let all = |kind: &ResourceType| self.all(kind.word(), Tags::default());
                    return Ok(ResourceType::ALL.iter().map(all).collect());
                };
                let kind = kind.to_ascii_lowercase();
                let found = self.given(&kind, written)?;
                if found.is_empty() {
                    one(self.all(&kind, Tags::default()))
                } else {
                    Ok(found)
                }
            }
            Target::Ram(kind, parameter) => {
                let name = Some(*parameter).filter(|name| !name.is_empty());
                let name = name.and_then(|name| self.params.get(name)).unwrap_or("*");
                one(self.plain(&format!("{kind}/{name}")))
            }
            Target::AnyPolicy => {
                let rest = format!("policy/{}", self.params.get("PolicyName").unwrap_or("*"));
                match self.params.get("PolicyType") {
                    Some(SYSTEM) => one(Resource {
                        name: format!("acs:ram::system:{rest}"),
                        ..self.plain(&rest)
                    }),
                    _ => one(self.plain(&rest)),
                }
            }
            Target::Own => {
                let own = self.caller.identity.user_name();
                let name = self.params.get("UserName").or(own).unwrap_or("*");
                one(self.plain(&format!("user/{name}")))
            }
            Target::Arn(parameter) => one(Resource {
                name: self.params.text(parameter).unwrap_or_default(),
                ..self.plain("")
            }),
            Target::Everything => one(self.plain("*")),
        }
    }

    /// The tags that every row of a list has that is filtered by tags. A filter without value says nothing about it.
    fn filter(&self) -> Result<Tags, ApiError> {
        let known: BTreeMap<_, _> = request_tags(self.params)?
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        Ok(Tags {
            known,
            complete: false,
        })
    }

    /// One that is about to be made, with the tags of the request.
    fn new_one(&self, kind: &str) -> Result<Resource, ApiError> {
        let tags = Tags {
            known: request_tags(self.params)?,
            complete: true,
        };
        Ok(self.all(kind, tags))
    }

    /// All of a type, in each region and wherever there may ever be one.
    fn everywhere(&self, kind: &str) -> Vec<Resource> {
        let served = self.control.config().regions.iter().map(|region| &*region.id);
        let of = |region: &str| Resource {
            name: self.within(region, &format!("{kind}/*")),
            ..self.all(kind, Tags::default())
        };
        served.chain(["*"]).map(of).collect()
    }

    fn all(&self, kind: &str, tags: Tags) -> Resource {
        Resource {
            tags,
            ..self.plain(&format!("{kind}/*"))
        }
    }

    /// What a resource of ECS is called in a region.
    fn within(&self, region: &str, rest: &str) -> String {
        format!("acs:ecs:{region}:{}:{rest}", self.caller.account)
    }

    /// The resource of that name within the service.
    fn plain(&self, rest: &str) -> Resource {
        let name = if self.service == "ecs" {
            self.within(self.region.unwrap_or(&self.control.home_region().id), rest)
        } else {
            format!("acs:ram::{}:{rest}", self.caller.account)
        };
        Resource {
            name,
            rest: rest.to_owned(),
            tags: Tags::default(),
            look_up: None,
            beside: None,
        }
    }

    /// The resources whose ids the request gives in these ways.
    fn given(&self, kind: &str, written: &[Ids]) -> Result<Vec<Resource>, ApiError> {
        let found = ids(self.params, written)?.into_iter().map(|id| {
            let rest = format!("{kind}/{id}");
            let own = (kind.to_owned(), id);
            Resource {
                look_up: Some(own.clone()),
                beside: Some(own),
                ..self.plain(&rest)
            }
        });
        Ok(found.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::table::ROWS;
    use super::{Ids, Target, ids};
    use tidemark_ecs::Params;

    /// Otherwise a list could be opened with an id that its action does not look at.
    #[test]
    fn an_id_counts_only_in_the_spelling_that_the_action_reads() {
        for row in ROWS {
            for target in row.on {
                let written = match target {
                    Target::Given(_, ways)
                    | Target::Filtered(_, ways)
                    | Target::If(_, ways)
                    | Target::Tagged(ways) => *ways,
                    _ => continue,
                };
                for way in written {
                    let (Ids::Text(name) | Ids::Json(name) | Ids::Repeat(name) | Ids::Members(name, _)) =
                        *way;
                    for (spelt, pair) in [
                        (Ids::Text(name), (name.to_owned(), "x-1")),
                        (Ids::Json(name), (name.to_owned(), " [\"x-1\"]")),
                        (Ids::Repeat(name), (format!("{name}.1"), "x-1")),
                    ] {
                        let params = Params::from_pairs([pair]).expect("one pair");
                        let found = ids(&params, written).unwrap_or_default();
                        assert_eq!(
                            found.iter().any(|id| id == "x-1"),
                            written.contains(&spelt),
                            "{} {spelt:?}",
                            row.action
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn an_id_of_any_length_is_not_looked_at() {
        let params = Params::from_pairs([("DiskId", "d".repeat(257))]).expect("one pair");
        let refused = ids(&params, &[Ids::Text("DiskId")]).expect_err("too long");
        assert_eq!((refused.status, &*refused.code), (400, "InvalidParameter"));
    }

    #[test]
    fn no_action_has_two_rows() {
        let mut names: Vec<_> = ROWS.iter().map(|row| row.action).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
    }
}
