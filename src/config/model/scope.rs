//! Where bindings by our cookie hold: the pools of each scope, and whether a route chooses.

use std::collections::{HashMap, HashSet};

use super::{Action, By, Pool, Route};

/// The pools that bind by our cookie in one scope, by index.
#[derive(Debug, Default)]
pub struct Scope {
    /// All of them.
    pub pools: HashSet<usize>,
    /// Those between which a route splits its visitors.
    pub split: HashSet<usize>,
}

/// The scopes of a configuration, by name.
pub fn scopes<'a>(pools: &'a [Pool], routes: &'a [Route]) -> HashMap<&'a str, Scope> {
    let mut scopes: HashMap<&str, Scope> = HashMap::new();
    for (index, pool) in pools.iter().enumerate() {
        if let Some(sticky) = pool.sticky.as_ref().filter(|sticky| sticky.by == By::Cookie) {
            scopes.entry(&sticky.scope.value).or_default().pools.insert(index);
        }
    }
    for route in routes {
        let sticky = route.sticky.as_ref().filter(|sticky| sticky.by == By::Cookie);
        let Some(sticky) = sticky else { continue };
        let scope = scopes.entry(&sticky.scope.value).or_default();
        match &route.action {
            Action::Pool(pool) => {
                scope.pools.insert(*pool);
            }
            Action::Split(shares) => {
                let shared = || shares.iter().map(|share| share.pool);
                scope.pools.extend(shared());
                if shares.len() > 1 {
                    scope.split.extend(shared());
                }
            }
            Action::Redirect(_) | Action::Respond(_) => {}
        }
    }
    scopes
}
