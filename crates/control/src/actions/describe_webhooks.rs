//! DescribeWebhooks: who is told of events, and how that goes.

use crate::catalogue::Conditions;
use crate::catalogue::events;
use crate::catalogue::webhooks::WebhookRow;
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control, views};
use tidemark_ecs::actions::describe_webhooks::{Request, Response, Webhook};
use tidemark_ecs::{ApiError, time};

/// The same for every cause: telling no connection from no answer would make this machine look into networks that the
/// caller cannot. The log says more.
const TROUBLE: &str = "the last attempt did not succeed";

/// A URL as far as its host; the rest may be what a receiver knows its callers by.
fn without_path(url: &str) -> String {
    let host = url.find("://").map_or(0, |at| at + "://".len());
    match url[host..].find(['/', '?']) {
        Some(end) if url.len() > host + end + 1 => format!("{}/…", &url[..host + end]),
        _ => url.to_owned(),
    }
}

impl Control {
    /// One page.
    pub async fn describe_webhooks(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.check_region(request.region_id.as_deref())?;
        let conditions = Conditions::of_account(WebhookRow::TABLE, &caller.account);
        let read = move |t: &mut dyn Transaction| -> Result<_, StoreError> {
            let newest = events::newest(t)?;
            let found =
                conditions.page(t, &request.page, WebhookRow::select, |row| (row.ordinal, &row.id))?;
            Ok((newest, found))
        };
        let (newest, (rows, page)) = self.store().read(read).await?;
        let show = |row: WebhookRow| Webhook {
            event_names: row.wanted(),
            level: row.level.word().into(),
            creation_time: time::seconds(views::at(row.created_ms)),
            last_delivery_time: row
                .delivered_ms
                .map_or_else(String::new, |ms| time::seconds(views::at(ms))),
            failures: row.failures,
            last_error: match row.last_error.is_empty() {
                true => String::new(),
                false => TROUBLE.to_owned(),
            },
            behind: newest - row.seen,
            dropped: row.dropped,
            webhook_id: row.id,
            url: without_path(&row.url),
        };
        Ok(Response {
            webhooks: rows.into_iter().map(show).collect(),
            page,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::without_path;

    #[test]
    fn of_a_url_the_host_is_shown() {
        for (url, expected) in [
            ("https://h", "https://h"),
            ("https://h/", "https://h/"),
            ("http://h:80/services/secret?a=b", "http://h:80/…"),
            ("https://h?token=secret", "https://h/…"),
        ] {
            assert_eq!(without_path(url), expected);
        }
    }
}
