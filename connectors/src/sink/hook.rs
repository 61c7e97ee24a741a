//! Where a test ends a sink.

use std::fmt;
use std::sync::Arc;

use crate::Error;

type Call = dyn Fn(&'static str) -> Result<(), Error> + Send + Sync;

/// Called before each step of a sink that a crash may prevent, with the step's name; does nothing unless a test wants to
/// end there.
#[derive(Clone, Default)]
pub(crate) struct Hook(Option<Arc<Call>>);

impl Hook {
    /// Calls `call`, whose error ends the sink.
    pub(crate) fn new(call: impl Fn(&'static str) -> Result<(), Error> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(call)))
    }

    /// A step comes next.
    pub(crate) fn before(&self, step: &'static str) -> Result<(), Error> {
        self.0.as_ref().map_or(Ok(()), |call| call(step))
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hook").field(&self.0.is_some()).finish()
    }
}
