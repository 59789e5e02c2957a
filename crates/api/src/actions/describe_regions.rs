//! DescribeRegions. The endpoint of a region is the host that the client called, which only this
//! layer knows: tools that follow it stay with us.

use crate::call::Call;
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_regions::Request;

pub(super) async fn run(call: Call<'_>) -> Result<String, ApiError> {
    let request = Request {
        endpoint: call.host.to_owned(),
        ..Request::parse(call.params)?
    };
    call.render(
        "DescribeRegions",
        &call
            .control()
            .await?
            .describe_regions(call.caller, request)
            .await?,
    )
}
