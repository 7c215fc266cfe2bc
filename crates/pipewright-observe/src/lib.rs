//! pipewright.
