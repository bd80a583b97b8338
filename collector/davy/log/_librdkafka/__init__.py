"""What confluent-kafka gives, which is librdkafka: an admin, a sender, a member of a group and a reader."""
