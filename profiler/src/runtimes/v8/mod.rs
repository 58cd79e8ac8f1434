//! V8, as Node holds it.
