"""Who is told what: messages in plain words, the outbox they wait in, and the channels they leave by."""
