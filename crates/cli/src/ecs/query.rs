//! JMESPath over answers.

use anyhow::{Result, anyhow};
use jmespath::{Rcvar, Variable};
use serde_json::Value;

/// Evaluates an expression; the error names it.
pub fn search(expression: &str, data: &Value) -> Result<Value> {
    let failed = |cause: &dyn std::fmt::Display| anyhow!("jmespath: '{expression}' failed {cause}");
    let compiled = jmespath::compile(expression).map_err(|e| failed(&e.reason))?;
    let variable = Variable::try_from(data.clone()).map_err(|e| failed(&e.reason))?;
    let found: Rcvar = compiled.search(variable).map_err(|e| failed(&e.reason))?;
    serde_json::to_value(&found).map_err(|e| failed(&e))
}
