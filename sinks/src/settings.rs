//! Reads one section of the configuration key by key, so that one run finds every error.
