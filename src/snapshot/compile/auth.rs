//! Who a route asks to say who they are.

use std::sync::Arc;

use super::Compiler;
use crate::config::model;
use crate::snapshot::auth::{Basic, ForwardAuth};
use crate::snapshot::{Auth, Pool};

impl Compiler<'_> {
    pub(super) fn auth(
        &mut self,
        route: &model::Route,
        auth: &model::Auth,
        pools: &[Option<Arc<Pool>>],
    ) -> Option<Auth> {
        match auth {
            model::Auth::Basic(basic) => {
                let compiled = Basic::new(basic);
                if compiled.is_none() {
                    self.wrong(route, &"basic_auth: the realm cannot be sent");
                }
                compiled.map(Auth::Basic)
            }
            model::Auth::Forward(asked) => {
                let pool = Arc::clone(pools.get(asked.pool)?.as_ref()?);
                ForwardAuth::new(asked, pool).map(Box::new).map(Auth::Forward)
            }
        }
    }
}
