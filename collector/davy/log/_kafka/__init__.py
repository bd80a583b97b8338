"""The log on Kafka, whichever client library speaks to the brokers.

`library` says what a client library gives; `log`, `producer`, `consumer` and `retention` make the port of it. The two
adapters, `davy.log.kafka` and `davy.log.librdkafka`, hold what is peculiar to one library and nothing else.
"""
