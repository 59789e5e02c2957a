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
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control, Identity};
use std::collections::BTreeMap;
use tidemark_ecs::ram::condition::{Facts, Tags, request_tags};
use tidemark_ecs::ram::policy::{Question, Verdict};
use tidemark_ecs::{ApiError, Params};

/// What an action is about.
pub(crate) enum Target {
    /// The resources of a type whose ids these parameters give; where they give none, all of the type.
    Given(&'static str, &'static [&'static str]),
    /// As `Given`, and where no id is given the list is filtered by the request's tags: they are what its rows have.
    Filtered(&'static str, &'static [&'static str]),
    /// As `Given`, but nothing where they give none.
    If(&'static str, &'static [&'static str]),
    /// One that is about to be made, with the tags of the request.
    New(&'static str),
    /// One that is about to be made in the region that this parameter names.
    NewIn(&'static str, &'static str),
    /// All of a type.
    All(&'static str),
    /// What tag actions name: `ResourceType` and `ResourceId.N`.
    Tagged,
    /// A user, role or policy whose name a parameter gives; all of them where it is empty.
    Ram(&'static str, &'static str),
    /// The user that `UserName` names, or the caller.
    Own,
    /// The parameter is the resource's full name.
    Arn(&'static str),
    /// All that the service has.
    Everything,
}

/// One resource that a request is about.
struct Resource {
    /// As policies name it.
    name: String,
    /// What its tags are, before they were looked up.
    tags: Tags,
    /// Where they can be looked up: type and id.
    look_up: Option<(String, String)>,
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
        let named = Named {
            control: self,
            caller,
            service,
            params,
        };
        let on = row(action).map_or(&[Target::Everything][..], |row| row.on);
        let request_tags = Tags {
            known: request_tags(params)?,
            complete: true,
        };
        let name = format!("{service}:{action}");
        for target in on {
            for mut resource in named.resources(target)? {
                if let (Some((kind, id)), None) = (&resource.look_up, named.region())
                    && let Some(region) = self.region_of(caller, kind, id).await?
                {
                    resource.name = format!("acs:ecs:{region}:{}:{kind}/{id}", caller.account);
                }
                let mut facts = Facts {
                    source: caller.source,
                    resource_tags: resource.tags.clone(),
                    request_tags: request_tags.clone(),
                };
                let ask = |facts: &Facts| {
                    caller.identity.judge(&Question {
                        action: &name,
                        resource: &resource.name,
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
                return Err(refusal(service, &name, &resource.name));
            }
        }
        Ok(())
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
    params: &'a Params,
}

impl Named<'_> {
    fn resources(&self, target: &Target) -> Result<Vec<Resource>, ApiError> {
        let one = |resource| Ok(vec![resource]);
        match target {
            Target::Given(kind, names) => {
                let found = self.given(kind, names)?;
                if found.is_empty() {
                    one(self.all(kind, Tags::default()))
                } else {
                    Ok(found)
                }
            }
            Target::Filtered(kind, names) => {
                let found = self.given(kind, names)?;
                if found.is_empty() {
                    one(self.all(kind, self.filter()?))
                } else {
                    Ok(found)
                }
            }
            Target::If(kind, names) => self.given(kind, names),
            Target::New(kind) => {
                let known = request_tags(self.params)?;
                one(self.all(
                    kind,
                    Tags {
                        known,
                        complete: true,
                    },
                ))
            }
            Target::NewIn(kind, parameter) => {
                let region = self.params.get(parameter).unwrap_or_default();
                one(Resource {
                    name: format!("acs:ecs:{region}:{}:{kind}/*", self.caller.account),
                    tags: Tags {
                        known: request_tags(self.params)?,
                        complete: true,
                    },
                    look_up: None,
                })
            }
            Target::All(kind) => one(self.all(kind, Tags::default())),
            Target::Tagged => {
                let kind = self
                    .params
                    .text("ResourceType")
                    .unwrap_or_default()
                    .to_ascii_lowercase();
                let found = self.given(&kind, &["ResourceId"])?;
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
            Target::Own => {
                let own = self.caller.identity.user_name();
                let name = self.params.get("UserName").or(own).unwrap_or("*");
                one(self.plain(&format!("user/{name}")))
            }
            Target::Arn(parameter) => one(Resource {
                name: self.params.text(parameter).unwrap_or_default(),
                tags: Tags::default(),
                look_up: None,
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

    fn all(&self, kind: &str, tags: Tags) -> Resource {
        Resource {
            tags,
            ..self.plain(&format!("{kind}/*"))
        }
    }

    /// The region that the request names: nothing in another one exists for it.
    fn region(&self) -> Option<&str> {
        self.params.get("RegionId")
    }

    /// The resource of that name within the service.
    fn plain(&self, rest: &str) -> Resource {
        let account = &self.caller.account;
        let name = if self.service == "ecs" {
            let region = self.region().unwrap_or(&self.control.home_region().id);
            format!("acs:ecs:{region}:{account}:{rest}")
        } else {
            format!("acs:ram::{account}:{rest}")
        };
        Resource {
            name,
            tags: Tags::default(),
            look_up: None,
        }
    }

    /// The resources whose ids the parameters of these names give, each way in which ids are written.
    fn given(&self, kind: &str, names: &[&str]) -> Result<Vec<Resource>, ApiError> {
        let mut ids = Vec::new();
        for name in names {
            match name.split_once(".*.") {
                Some((list, member)) => {
                    for item in self.params.structs(list)? {
                        ids.extend(item.text(member));
                    }
                }
                None => {
                    match self.params.get(name) {
                        Some(text) if text.starts_with('[') => {
                            let odd = (400, "InvalidParameter");
                            ids.extend(
                                self.params
                                    .json_list(name, usize::MAX, odd, odd)?
                                    .unwrap_or_default(),
                            );
                        }
                        id => ids.extend(id.map(str::to_owned)),
                    }
                    ids.extend(self.params.list(name)?);
                }
            }
        }
        Ok(ids
            .into_iter()
            .map(|id| Resource {
                look_up: Some((kind.to_owned(), id.clone())),
                ..self.plain(&format!("{kind}/{id}"))
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::table::ROWS;

    #[test]
    fn no_action_has_two_rows() {
        let mut names: Vec<_> = ROWS.iter().map(|row| row.action).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
    }
}
