// Does what programs do with the package nats of npm: javascript_2_client.js HOST PORT STEP...
"use strict";

require("./javascript_steps.js")(require("nats"), (client) => client.jetstreamManager());
